//! Enrolment writes everything that a device needs, for its owner only, and overwrites nothing.

use crate::world::{DeviceSetup, Folder, Host, PATIENCE, name, wait_for};
use alfred_link::config::LinkConfig;
use alfred_link::enrol::{EnrolError, Enrolment, enrol};
use alfred_link::fault::LinkFault;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

fn enrolment<'e>(host_folder: &'e std::path::Path, out: &'e std::path::Path) -> Enrolment<'e> {
    Enrolment { host_folder, device: name("Tür \"3\""), host_address: "gate.example:7443", out, now: SystemTime::now() }
}

#[test]
fn an_enrolled_device_connects_with_the_files_as_they_are() {
    let folder = Folder::new();
    let (host_folder, out) = (folder.path("host"), folder.path("edge"));
    assert!(enrol(&enrolment(&host_folder, &out)).expect("enrols").is_new_authority);
    let files = |folder: &std::path::Path| {
        let mut files: Vec<String> =
            fs::read_dir(folder).expect("lists").map(|entry| entry.expect("there").file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        for file in &files {
            let mode = fs::metadata(folder.join(file)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        files
    };
    assert_eq!(files(&host_folder), ["authority.crt", "authority.key", "host.crt", "host.key"]);
    assert_eq!(files(&out), ["authority.crt", "device.crt", "device.key", "link.toml"]);

    #[derive(serde::Deserialize)]
    struct File {
        link: LinkConfig,
    }
    let mut config = toml::from_str::<File>(&fs::read_to_string(out.join("link.toml")).expect("reads")).expect("is a configuration").link;
    assert_eq!((config.device, config.host.as_str()), (name("Tür \"3\""), "gate.example:7443"));
    config.resolve(&out);
    let credentials = config.credentials().expect("complete");
    let host = Host::tls(&folder, PATIENCE);
    let device = DeviceSetup { device: "Tür \"3\"", ..DeviceSetup::new(&folder, host.address, credentials) }.start();
    wait_for("a heartbeat", || !host.store.lock().expect("store").heartbeats.is_empty());
    assert_eq!(device.faults(), []);
    device.stop();
}

#[test]
fn nothing_is_overwritten_and_a_second_device_has_the_same_authority() {
    let folder = Folder::new();
    let (host_folder, out, second) = (folder.path("host"), folder.path("edge"), folder.path("second"));
    enrol(&enrolment(&host_folder, &out)).expect("enrols");
    let read = || fs::read(out.join("device.key")).expect("reads");
    let before = read();
    assert!(matches!(enrol(&enrolment(&host_folder, &out)), Err(EnrolError::Exists(_))));
    assert_eq!(read(), before);
    assert!(!enrol(&enrolment(&host_folder, &second)).expect("enrols").is_new_authority);
    let authority = |folder: &std::path::Path| fs::read(folder.join("authority.crt")).expect("reads");
    assert_eq!(authority(&second), authority(&host_folder));
    assert_ne!(fs::read(second.join("device.key")).expect("reads"), before, "each device has its own key");
    // Half an authority is not completed by a new one: devices that trust the old one would be cut off.
    fs::remove_file(host_folder.join("authority.crt")).expect("removes");
    assert!(matches!(enrol(&enrolment(&host_folder, &folder.path("third"))), Err(EnrolError::Exists(_))));
}

#[test]
fn addresses_that_would_not_work_are_refused() {
    let folder = Folder::new();
    let (host_folder, out) = (folder.path("host"), folder.path("edge"));
    for address in ["gate", "gate:", ":7443", "gate:0", "gate:70000", "ga te:1", "gate\":1", "gate\n:1"] {
        let enrolment = Enrolment { host_address: address, ..enrolment(&host_folder, &out) };
        assert!(matches!(enrol(&enrolment), Err(EnrolError::Address(_))), "{address}");
    }
    assert!(!out.exists() && !host_folder.exists(), "nothing was written");
}

#[test]
fn a_key_that_everybody_can_read_is_not_used() {
    let folder = Folder::new();
    let (host_folder, out) = (folder.path("host"), folder.path("edge"));
    enrol(&enrolment(&host_folder, &out)).expect("enrols");
    fs::set_permissions(out.join("device.key"), fs::Permissions::from_mode(0o644)).expect("opens it up");
    let fault = alfred_link::enrol::device_credentials(&out).device().expect_err("refused");
    assert!(
        matches!(&fault, LinkFault::File { path, .. } if path.ends_with("device.key")) && fault.to_string().contains("chmod"),
        "{fault}"
    );
}
