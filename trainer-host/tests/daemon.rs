//! The daemon as its operator meets it: enrol a device, add a reviewer, serve, log in, stop.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

fn host(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alfred-host")).args(arguments).output().expect("alfred-host starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ends with the test, however that ends.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request over a fresh connection; the whole answer.
fn request(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("alfred-daemon-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn a_device_is_enrolled_a_reviewer_logs_in_and_sigterm_ends_the_daemon() {
    let folder = folder();
    let database = path(&folder, "host.sqlite");
    let (keys, device) = (path(&folder, "keys"), path(&folder, "gate"));
    let enrol = ["enroll", "gate", "--host", "127.0.0.1:7443", "--host-folder", &keys, "--out", &device, "--database", &database];
    let first = host(&enrol);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(folder.join("gate/device.key").is_file() && folder.join("keys/authority.key").is_file());
    let second = host(&enrol);
    assert_eq!(second.status.code(), Some(2), "nothing is overwritten");
    assert!(text(&second.stderr).contains("not overwritten"), "{}", text(&second.stderr));
    let added = host(&["user", "add", "ann", "--database", &database]);
    let token = text(&added.stdout).trim().to_owned();
    assert!(added.status.success() && token.len() >= 32, "{}", text(&added.stderr));
    let config = folder.join("host.toml");
    fs::write(&config, format!("database = {database:?}\nhttp = \"127.0.0.1:0\"\ndevices = \"127.0.0.1:0\"\ncredentials = {keys:?}\n"))
        .expect("settings");
    let mut daemon = Daemon(
        Command::new(env!("CARGO_BIN_EXE_alfred-host"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("alfred-host starts"),
    );
    let mut lines = BufReader::new(daemon.0.stdout.take().expect("piped")).lines();
    let page = lines.next().expect("a line").expect("text");
    let address = page.split("http://").nth(1).expect("an address").trim_end_matches('/').to_owned();
    assert!(lines.next().expect("a line").expect("text").starts_with("devices: 127.0.0.1:"));
    let login = |token: &str| request(&address, "POST", "/api/login", &format!("{{\"reviewer\": \"ann\", \"token\": \"{token}\"}}"));
    assert!(login("wrong").starts_with("HTTP/1.1 401"), "{}", login("wrong"));
    let good = login(&token);
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("SameSite=Strict"), "{good}");
    assert!(request(&address, "GET", "/api/queue", "").starts_with("HTTP/1.1 401"), "nobody sees the queue without a login");
    kill(Pid::from_raw(i32::try_from(daemon.0.id()).expect("a pid")), Signal::SIGTERM).expect("signalled");
    assert!(daemon.0.wait().expect("its end").success(), "SIGTERM ends it well");
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn settings_that_are_wrong_end_with_the_place_and_the_mend() {
    let folder = folder().with_extension("bad");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("host.toml");
    fs::write(&config, "database = \"host.sqlite\"\nhttp = \"0.0.0.0:80\"\n").expect("settings");
    let refused = host(&["serve", "--config", &config.display().to_string()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("http_beyond_this_machine"), "{}", text(&refused.stderr));
    fs::write(&config, "databse = \"host.sqlite\"\n").expect("settings");
    let refused = host(&["serve", "--config", &config.display().to_string()]);
    assert!(text(&refused.stderr).contains("databse"), "{}", text(&refused.stderr));
    fs::remove_dir_all(&folder).expect("removed");
}
