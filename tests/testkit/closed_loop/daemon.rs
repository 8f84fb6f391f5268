//! `alfred-host` as an operator runs it: keys, enrolment, reviewers, `serve`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A host's folder, and the programs.
#[derive(Clone, Debug)]
pub struct HostFolder {
    /// `alfred-host`.
    pub program: PathBuf,
    /// Everything that the host has lies here.
    pub folder: PathBuf,
    /// Where devices connect.
    pub port: u16,
}

/// A running daemon; ends with its owner.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// `address:port` of page and API.
    pub http: String,
}

impl HostFolder {
    /// A new host: signing key and a free port.
    ///
    /// # Errors
    /// What failed, in one line.
    pub fn new(program: &Path, folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // Free a moment ago: the devices' configuration must name it before the daemon listens.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())?.port();
        Ok(Self { program: program.to_owned(), folder: folder.to_owned(), port })
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("host.sqlite")
    }

    /// Runs a command to its end; its standard output without the last line's end.
    ///
    /// # Errors
    /// What it wrote to standard error.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", self.program.display()))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(format!("alfred-host {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end()))
        }
    }

    /// Makes the signing key; returns its public half.
    ///
    /// # Errors
    /// As [`HostFolder::command`].
    pub fn make_key(&self) -> Result<String, String> {
        self.command(&["bundle", "keygen", "--out", &text(&self.folder.join("bundle.key"))])
    }

    /// Enrols a device for the camera of the same name; returns its folder.
    ///
    /// # Errors
    /// As [`HostFolder::command`].
    pub fn enrol(&self, device: &str) -> Result<PathBuf, String> {
        let out = self.folder.join(format!("device-{device}"));
        let address = format!("127.0.0.1:{}", self.port);
        let (keys, database) = (text(&self.folder.join("keys")), text(&self.database()));
        self.command(&["enroll", device, "--host", &address, "--host-folder", &keys, "--out", &text(&out), "--database", &database])?;
        Ok(out)
    }

    /// Adds a reviewer; returns the token.
    ///
    /// # Errors
    /// As [`HostFolder::command`].
    pub fn add_user(&self, name: &str, role: &str) -> Result<String, String> {
        self.command(&["user", "add", name, "--role", role, "--database", &text(&self.database())])
    }

    /// Starts the daemon; `more` goes to the end of its settings.
    ///
    /// # Errors
    /// What failed, in one line.
    pub fn serve(&self, more: &str) -> Result<Daemon, String> {
        let config = self.folder.join("host.toml");
        let settings = format!(
            "database = {:?}\nhttp = \"127.0.0.1:0\"\ndevices = \"127.0.0.1:{}\"\ncredentials = {:?}\nheartbeat_period_s = 1\n{more}",
            text(&self.database()),
            self.port,
            text(&self.folder.join("keys")),
        );
        fs::write(&config, settings).map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("alfred-host serve: {error}"))?;
        let stdout = child.stdout.take().ok_or("alfred-host has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let http = first.split("http://").nth(1).map(|address| address.trim_end_matches('/').to_owned());
        let mut daemon = Daemon { child, http: http.unwrap_or_default() };
        if daemon.http.is_empty() {
            daemon.kill();
            return Err(format!("alfred-host serve did not start: {first:?}"));
        }
        // The pipe stays open for as long as the daemon writes.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(daemon)
    }
}

impl Daemon {
    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run on after this process.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A path as text.
#[must_use]
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Builds the programs that are needed, in the profile that this one was built in; nothing to do when they are there already. Returns their folder.
///
/// # Errors
/// What cargo says.
pub fn build_programs(names: &[&str]) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut folder = own.parent().ok_or("this program has no folder")?;
    // Tests lie one folder below the programs.
    if folder.file_name().is_some_and(|name| name == "deps") {
        folder = folder.parent().ok_or("this program has no folder")?;
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in names {
        build.args(["--bin", name]);
    }
    if folder.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    if let Some(target) = folder.parent() {
        build.arg("--target-dir").arg(target);
    }
    let status = build.status().map_err(|error| format!("cargo build: {error}"))?;
    match names.iter().find(|name| !folder.join(name).exists()) {
        None if status.success() => Ok(folder.to_owned()),
        _ => Err(format!("{} could not be built: run cargo build and read its errors", names.join(", "))),
    }
}
