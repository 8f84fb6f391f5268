//! The link's confinement, tried in a child process: what it must refuse is refused by the kernel, what the link needs works.

use alfred_runtime::live::sandbox::{Confinement, confined};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CHILD: &str = "ALFRED_SANDBOX_CHILD";

/// Parent and child are this test: the child confines itself and reports, one line per attempt.
#[test]
fn what_the_link_does_not_need_is_refused_by_the_kernel() {
    if let Some(folder) = std::env::var_os(CHILD) {
        child(Path::new(&folder));
        return;
    }
    let folder = std::env::temp_dir().join(format!("alfred-sandbox-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("state")).expect("a folder");
    fs::write(folder.join("secret"), "of somebody else").expect("a file");
    let program = std::env::current_exe().expect("this test");
    let arguments = ["--exact", "what_the_link_does_not_need_is_refused_by_the_kernel", "--nocapture"];
    let output = Command::new(program).args(arguments).env(CHILD, &folder).stdin(Stdio::null()).output().expect("it runs");
    let _ = fs::remove_dir_all(&folder);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{report}");
    let outcome = |name: &str| {
        let line =
            report.lines().find_map(|line| line.split_once("TRIED ").map(|(_, tried)| tried)?.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} was not tried: {report}")).to_owned()
    };
    for needed in ["write state", "read state", "rename state", "start a thread", "connect to the host", "resolve a name"] {
        assert_eq!(outcome(needed), "done", "{needed}");
    }
    match outcome("landlock").as_str() {
        "enforced" => {
            for refused in ["read a secret", "read the environment", "write elsewhere", "read /etc/passwd"] {
                assert_eq!(outcome(refused), "PermissionDenied", "{refused}");
            }
            match outcome("connect elsewhere").as_str() {
                "PermissionDenied" => {}
                other => println!("SKIPPED: this kernel's landlock does not know connections: {other}"),
            }
        }
        why => println!("SKIPPED: this kernel does not enforce landlock ({why}): nothing was proven about files"),
    }
    match outcome("seccomp").as_str() {
        "enforced" => {
            for refused in ["start a program", "raw socket", "new namespace", "trace", "listen"] {
                assert_eq!(outcome(refused), "PermissionDenied", "{refused}");
            }
        }
        why => println!("SKIPPED: this kernel does not enforce seccomp ({why}): nothing was proven about system calls"),
    }
    assert_eq!(outcome("read a secret outside"), "done", "the other threads are free");
}

fn say(name: &str, outcome: Result<(), ErrorKind>) {
    // Begins a line of its own, since the harness may have begun one.
    println!("\nTRIED {name}: {}", outcome.map_or_else(|kind| format!("{kind:?}"), |()| "done".into()));
}

fn child(folder: &Path) {
    let (host, other) = (TcpListener::bind("127.0.0.1:0").expect("a port"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let rules = Confinement { read: vec![], write: vec![folder.join("state")], connect: vec![port(&host)] };
    let secret = folder.join("secret");
    let (tried, enforcement) = confined(&rules, || attempts(folder, &secret, port(&host), port(&other))).expect("a thread");
    for (name, outcome) in tried {
        say(name, outcome);
    }
    let enforced = |outcome: Result<(), String>| outcome.map_or_else(|why| why, |()| "enforced".into());
    println!("\nTRIED landlock: {}", enforced(enforcement.landlock.map(drop)));
    println!("\nTRIED seccomp: {}", enforced(enforcement.seccomp));
    say("read a secret outside", kind(File::open(&secret)));
}

fn kind<T>(result: std::io::Result<T>) -> Result<(), ErrorKind> {
    result.map(drop).map_err(|error| error.kind())
}

fn errno<T>(result: Result<T, Errno>) -> Result<(), ErrorKind> {
    kind(result.map_err(std::io::Error::from))
}

type Tried = (&'static str, Result<(), ErrorKind>);

fn attempts(folder: &Path, secret: &PathBuf, host: u16, other: u16) -> Vec<Tried> {
    let state = folder.join("state/journal");
    let write = || {
        let mut file = File::create(&state)?;
        file.write_all(b"record")?;
        file.sync_all()
    };
    let thread = std::thread::Builder::new().spawn(|| 5).and_then(|thread| thread.join().map_err(|_| std::io::Error::other("panic")));
    vec![
        ("write state", kind(write())),
        ("read state", kind(fs::read(&state))),
        ("rename state", kind(fs::rename(&state, folder.join("state/other")))),
        ("start a thread", kind(thread)),
        ("connect to the host", kind(TcpStream::connect(("127.0.0.1", host)))),
        ("resolve a name", kind(std::net::ToSocketAddrs::to_socket_addrs(&("localhost", host)))),
        ("read a secret", kind(File::open(secret))),
        ("read the environment", kind(File::open("/proc/self/environ"))),
        ("read /etc/passwd", kind(File::open("/etc/passwd"))),
        ("write elsewhere", kind(File::create(folder.join("elsewhere")))),
        ("connect elsewhere", kind(TcpStream::connect(("127.0.0.1", other)))),
        ("start a program", kind(Command::new("/bin/true").stdin(Stdio::null()).status())),
        ("raw socket", errno(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None))),
        ("new namespace", errno(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS))),
        ("trace", errno(nix::sys::ptrace::traceme())),
        (
            "listen",
            errno(
                socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                    .and_then(|socket| nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(1)?)),
            ),
        ),
    ]
}
