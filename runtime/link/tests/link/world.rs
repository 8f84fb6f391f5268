//! Hosts that store in memory, devices with a journal in a file, and a proxy that cuts connections: over real sockets.

use alfred_board::file_storage::FileStorage;
use alfred_journal::journal::{Journal, Settings};
use alfred_link::client::{ClientSettings, DeviceSide, start};
use alfred_link::credentials::Credentials;
use alfred_link::enrol::{Enrolment, enrol_device};
use alfred_link::fault::{FaultKind, LinkFault};
use alfred_link::handle::LinkHandle;
use alfred_link::host::{HostSide, ServerCounters, serve};
use alfred_link::limits::{BUNDLE_BYTES_MAX, Patience};
use alfred_link::tcp::{Acceptor, TcpLink};
use alfred_synth::random::Random;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleAsk, BundleOffer, BundleState, CHUNK_BYTES_MAX, Configure, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused,
    Welcome,
};
use alfred_wire::name::Name;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

pub const FINGERPRINT: u64 = 77;
const JOURNAL_BYTES: u64 = 4 << 20;

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// Short, so that tests of slow peers end soon; long enough for a busy machine's honest ones.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(20),
    handshake: Duration::from_secs(20),
    message: Duration::from_secs(20),
    send: Duration::from_secs(20),
    receipt: Duration::from_secs(30),
    silence: Duration::from_secs(30),
};

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join(format!("alfred-link-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed)));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn enrol(folder: &Folder, device: &str, out: &str, now: SystemTime) {
    let (host_folder, out) = (folder.path("host"), folder.path(out));
    let enrolment = Enrolment { host_folder: &host_folder, device: name(device), host_address: "127.0.0.1:7443", out: &out, now };
    enrol_device(&enrolment).expect("enrols");
}

/// Waits until something is true, for as long as a busy machine may take.
pub fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a host has.
#[derive(Default)]
pub struct Store {
    pub records: BTreeMap<(Name, RecordId), Vec<u8>>,
    /// Records that came again after they had been committed.
    pub repeated: u64,
    /// Of them, those that had another content.
    pub conflicts: u64,
    pub states: Vec<BundleState>,
    pub heartbeats: Vec<Heartbeat>,
    pub offer: Option<(BundleOffer, Vec<u8>)>,
    /// Faults by connection, and whether each was the first of its kind.
    pub faults: Vec<(FaultKind, bool)>,
    /// Bodies of this length are refused as unreadable.
    pub unreadable_bytes: Option<usize>,
}

impl Store {
    pub fn offer(&mut self, revision: u64, bytes: Vec<u8>) {
        let sha256 = Sha256::digest(&bytes).into();
        let offer = BundleOffer { camera: name("gate"), revision, bytes: bytes.len() as u32, fingerprint: FINGERPRINT, sha256 };
        self.offer = Some((offer, bytes));
    }
}

pub struct MemorySide {
    store: Arc<Mutex<Store>>,
    device: Option<Name>,
    staged: Vec<(RecordId, Vec<u8>)>,
    has_offered: bool,
}

impl HostSide for MemorySide {
    fn hello(&mut self, hello: &Hello) -> Result<Welcome, ErrorCode> {
        self.device = Some(hello.device);
        if hello.camera == name("gate") { Ok(Welcome { wall_unix_ms: 1, heartbeat_period_s: 1 }) } else { Err(ErrorCode::LinkWrongCamera) }
    }

    fn record(&mut self, record: &JournalRecord<'_>) -> Result<(), ErrorCode> {
        let body = record.body.get();
        self.staged.push((record.id, body.to_vec()));
        let is_unreadable = self.store.lock().expect("store").unreadable_bytes == Some(body.len());
        if is_unreadable { Err(ErrorCode::LinkRecord) } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), ErrorCode> {
        let mut store = self.store.lock().expect("store");
        for (id, body) in self.staged.drain(..) {
            let key = (self.device.expect("said hello"), id);
            if let Some(before) = store.records.insert(key, body.clone()) {
                store.repeated += 1;
                store.conflicts += u64::from(before != body);
            }
        }
        Ok(())
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        self.store.lock().expect("store").heartbeats.push(*heartbeat);
    }

    fn bundle_state(&mut self, state: &BundleState) {
        self.store.lock().expect("store").states.push(*state);
    }

    fn refused(&mut self, _: &Refused) {}

    fn part(&mut self, ask: &BundleAsk, part: &mut [u8; CHUNK_BYTES_MAX]) -> usize {
        let store = self.store.lock().expect("store");
        let bytes = store.offer.as_ref().filter(|(offer, _)| offer.revision == ask.revision).map(|(_, bytes)| bytes.as_slice());
        let rest = bytes.unwrap_or_default().get(ask.offset as usize..).unwrap_or_default();
        let length = rest.len().min(part.len());
        part[..length].copy_from_slice(&rest[..length]);
        length
    }

    fn next(&mut self) -> Option<HostMessage<'static>> {
        let offer = self.store.lock().expect("store").offer.as_ref().map(|(offer, _)| *offer)?;
        (!std::mem::replace(&mut self.has_offered, true)).then_some(HostMessage::BundleOffer(offer))
    }
}

/// A host that runs.
pub struct Host {
    pub address: SocketAddr,
    pub store: Arc<Mutex<Store>>,
    pub counters: Arc<ServerCounters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    pub fn start(acceptor: Acceptor, connections_max: usize) -> Self {
        let listener = acceptor.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("listens");
        let address = listener.local_addr().expect("an address");
        let (store, counters, stop) = (Arc::<Mutex<Store>>::default(), Arc::<ServerCounters>::default(), Arc::<AtomicBool>::default());
        let (its_store, its_counters, its_stop) = (Arc::clone(&store), Arc::clone(&counters), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let open = |_: &_| MemorySide { store: Arc::clone(&its_store), device: None, staged: Vec::new(), has_offered: false };
            let told = |_, fault: &LinkFault, is_first| its_store.lock().expect("store").faults.push((fault.kind(), is_first));
            serve(&listener, &acceptor, connections_max, &its_stop, &its_counters, open, told).expect("serves");
        });
        Self { address, store, counters, stop, thread: Some(thread) }
    }

    /// With TLS, from the folder's authority.
    pub fn tls(folder: &Folder, patience: Patience) -> Self {
        let credentials = alfred_link::enrol::host_credentials(&folder.path("host"));
        Self::start(Acceptor::new(&credentials, patience).expect("credentials"), 16)
    }

    pub fn faults(&self) -> Vec<FaultKind> {
        self.store.lock().expect("store").faults.iter().map(|(kind, _)| *kind).collect()
    }

    pub fn wait_for_faults(&self, count: usize) -> Vec<FaultKind> {
        wait_for("faults at the host", || self.faults().len() >= count);
        self.faults()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the host panicked");
        }
    }
}

/// What a device saw.
#[derive(Default)]
pub struct Seen {
    pub bundles: Vec<Vec<u8>>,
    pub faults: Vec<FaultKind>,
    pub settings: Vec<Configure>,
}

pub struct TestSide {
    seen: Arc<Mutex<Seen>>,
    /// Bundles with this first byte are refused.
    refused_byte: u8,
}

impl DeviceSide for TestSide {
    fn heartbeat(&mut self) -> Heartbeat {
        Heartbeat { frames: 5, ..Heartbeat::default() }
    }
    fn bundle_revision(&self) -> u64 {
        3
    }
    fn on_bundle(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        self.seen.lock().expect("seen").bundles.push(bytes.to_vec());
        if bytes[0] == self.refused_byte { Err(ErrorCode::BundleSignature) } else { Ok(()) }
    }
    fn on_withdraw(&mut self, _: u64) {}
    fn on_configure(&mut self, settings: &Configure) {
        self.seen.lock().expect("seen").settings.push(*settings);
    }
    fn on_fault(&mut self, fault: &LinkFault, _: bool) {
        self.seen.lock().expect("seen").faults.push(fault.kind());
    }
}

/// A device whose link runs.
pub struct Device {
    pub handle: LinkHandle,
    pub seen: Arc<Mutex<Seen>>,
}

pub struct DeviceSetup<'a> {
    pub folder: &'a Path,
    pub device: &'a str,
    pub camera: &'a str,
    pub boot: u64,
    pub address: SocketAddr,
    pub credentials: Option<Credentials>,
    pub patience: Patience,
    pub bytes_per_second_max: u32,
}

impl<'a> DeviceSetup<'a> {
    pub fn new(folder: &'a Folder, address: SocketAddr, credentials: Option<Credentials>) -> Self {
        let (device, camera) = ("edge 1", "gate");
        Self { folder: &folder.0, device, camera, boot: 1, address, credentials, patience: PATIENCE, bytes_per_second_max: 0 }
    }

    pub fn start(self) -> Device {
        let device = name(self.device);
        let storage = FileStorage::open(&self.folder.join("journal"), JOURNAL_BYTES).expect("storage");
        let (journal, _) = Journal::open(storage, Settings::new(device, self.boot)).expect("journal");
        let seen = Arc::<Mutex<Seen>>::default();
        let side = TestSide { seen: Arc::clone(&seen), refused_byte: 0xEE };
        let settings = ClientSettings {
            device,
            camera: name(self.camera),
            boot: self.boot,
            fingerprint: FINGERPRINT,
            bytes_per_second_max: self.bytes_per_second_max,
            bundle_bytes_max: BUNDLE_BYTES_MAX,
            spool: self.folder.join("spool"),
            patience: self.patience,
            retry_first: Duration::from_millis(2),
            retry_longest: Duration::from_millis(20),
        };
        let link = TcpLink::new(self.address.to_string(), self.credentials.as_ref(), self.patience).expect("a link");
        Device { handle: start(link, journal, side, settings).expect("starts"), seen }
    }
}

impl Device {
    pub fn faults(&self) -> Vec<FaultKind> {
        self.seen.lock().expect("seen").faults.clone()
    }

    pub fn wait_for_fault(&self) -> FaultKind {
        wait_for("a fault at the device", || !self.faults().is_empty());
        self.faults()[0]
    }

    pub fn stop(self) {
        self.handle.stop().expect("ends");
    }
}

/// Forwards connections and cuts the first `cuts` of them after a seeded number of bytes, in both directions together.
pub struct Proxy {
    pub address: SocketAddr,
    /// What devices sent on whole connections.
    pub recorded: Arc<Mutex<Vec<u8>>>,
    pub cuts_done: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(host: SocketAddr, seed: u64, cuts: u32, bytes_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let (stop, recorded, cuts_done) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicU32>::default());
        let (its_stop, its_recorded, its_cuts) = (Arc::clone(&stop), Arc::clone(&recorded), Arc::clone(&cuts_done));
        let thread = thread::spawn(move || {
            let mut random = Random::new(seed);
            let mut threads = Vec::new();
            let mut connections = 0;
            while !its_stop.load(Relaxed) {
                let Ok((device, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let Ok(host) = TcpStream::connect(host) else { continue };
                // Mostly anywhere, often in the handshake.
                let bytes = if random.chance(0.3) { random.below(3000) } else { random.below(bytes_max) };
                let budget = Arc::new(AtomicI64::new(if connections < cuts { bytes as i64 } else { i64::MAX }));
                connections += 1;
                for (from, to, is_recorded) in [(&device, &host, true), (&host, &device, false)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let (budget, stop, cuts) = (Arc::clone(&budget), Arc::clone(&its_stop), Arc::clone(&its_cuts));
                    let recorded = is_recorded.then(|| Arc::clone(&its_recorded));
                    threads.push(thread::spawn(move || forward(from, to, &budget, &stop, &cuts, recorded.as_deref())));
                }
            }
            threads.into_iter().for_each(|thread| thread.join().expect("forwards"));
        });
        Self { address, recorded, cuts_done, stop, thread: Some(thread) }
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    budget: &AtomicI64,
    stop: &AtomicBool,
    cuts: &AtomicU32,
    recorded: Option<&Mutex<Vec<u8>>>,
) {
    from.set_nonblocking(false).expect("a socket");
    from.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    let mut buffer = [0; 2048];
    while !stop.load(Relaxed) {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        let left = budget.fetch_sub(count as i64, Relaxed);
        let passed = count.min(usize::try_from(left).unwrap_or(0));
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        if let Some(recorded) = recorded {
            recorded.lock().expect("recorded").extend(&buffer[..passed]);
        }
        if passed < count {
            cuts.fetch_add(1, Relaxed);
            break;
        }
    }
    // Both directions end, mid-record as it may be.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
