//! Broken and hostile peers at the host's door: each costs one counted fault of its own kind, and the next honest device is served.

use crate::world::{DeviceSetup, Folder, Host, PATIENCE, Proxy, enrol, name, wait_for};
use alfred_link::credentials::Credentials;
use alfred_link::enrol::{create_authority, device_credentials, host_credentials};
use alfred_link::fault::{FaultKind, LinkFault};
use alfred_link::limits::{HELLO_BYTES_MAX, Patience};
use alfred_link::session::{Link, Session};
use alfred_link::tcp::{Acceptor, TcpLink};
use alfred_synth::random::Random;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    DEVICE_MESSAGE_BYTES_MAX, DeviceMessage, ENVELOPE_BYTES, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused, decode,
    encode,
};
use alfred_wire::name::Bytes;
use alfred_wire::record::Priority;
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Ends soon with slow peers.
const IMPATIENCE: Patience = Patience {
    handshake: Duration::from_millis(300),
    message: Duration::from_millis(300),
    silence: Duration::from_millis(300),
    ..PATIENCE
};

fn plain(patience: Patience) -> Host {
    Host::start(Acceptor::plain(patience), 4)
}

fn fleet() -> Folder {
    let folder = Folder::new();
    create_authority(&folder.path("host"), SystemTime::now()).expect("an authority");
    enrol(&folder, "edge 1", "edge", SystemTime::now());
    folder
}

fn frame(message: &DeviceMessage<'_>) -> Vec<u8> {
    let mut buffer = vec![0; ENVELOPE_BYTES + DEVICE_MESSAGE_BYTES_MAX];
    encode(message, &mut buffer).expect("fits").to_vec()
}

fn hello() -> Hello {
    Hello { device: name("edge 1"), camera: name("gate"), boot: 1, fingerprint: 77, bundle_revision: 3, now_ns: 0 }
}

fn record(sequence: u64) -> Vec<u8> {
    let id = RecordId { boot: 1, sequence };
    frame(&DeviceMessage::Record(JournalRecord { id, priority: Priority::Event, body: Bytes::new(&[7; 9]).expect("fits") }))
}

/// Says `bytes` and nothing more; returns what the host answered until it hung up.
fn say(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("connects");
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer
}

/// The code that the host's last message refuses with.
fn refusal(answer: &[u8]) -> Option<ErrorCode> {
    let mut rest = answer;
    let mut code = None;
    while let Some((envelope, after)) = rest.split_first_chunk::<ENVELOPE_BYTES>() {
        let (body, after) = after.split_at_checked(u32::from_le_bytes([envelope[4], envelope[5], envelope[6], envelope[7]]) as usize)?;
        if let Ok(HostMessage::Refused(Refused { code: refused, .. })) = decode(body) {
            code = refused.known();
        }
        rest = after;
    }
    code
}

/// An honest device is served now.
fn serves(host: &Host, folder: &Folder, credentials: Option<Credentials>) {
    let before = host.store.lock().expect("store").heartbeats.len();
    let device = DeviceSetup::new(folder, host.address, credentials).start();
    wait_for("the honest device", || host.store.lock().expect("store").heartbeats.len() > before);
    device.stop();
}

#[test]
fn wrong_frames_are_told_apart_refused_and_counted() {
    let hello = frame(&DeviceMessage::Hello(hello()));
    let heartbeat = frame(&DeviceMessage::Heartbeat(Heartbeat::default()));
    let envelope = |length: u32| [b"AF\x01\0".as_slice(), &length.to_le_bytes()].concat();
    let cases = [
        (FaultKind::Magic, ErrorCode::LinkMalformed, b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n".to_vec()),
        (FaultKind::Version, ErrorCode::LinkVersion, b"AF\x02\0\x01\0\0\0".to_vec()),
        // Nobody gets a large buffer before it has said who it is.
        (FaultKind::TooLarge, ErrorCode::LinkTooLarge, envelope(HELLO_BYTES_MAX as u32 + 1)),
        (FaultKind::TooLarge, ErrorCode::LinkTooLarge, envelope(u32::MAX)),
        (FaultKind::TooLarge, ErrorCode::LinkTooLarge, [&hello[..], &envelope(DEVICE_MESSAGE_BYTES_MAX as u32 + 1)].concat()),
        (FaultKind::Malformed, ErrorCode::LinkMalformed, [&envelope(3), &[99, 1, 2][..]].concat()),
        (FaultKind::Malformed, ErrorCode::LinkMalformed, envelope(0)),
        (FaultKind::Unexpected, ErrorCode::LinkUnexpected, heartbeat),
        (FaultKind::Unexpected, ErrorCode::LinkUnexpected, [&hello[..], &hello].concat()),
    ];
    let host = plain(PATIENCE);
    for (place, (kind, code, bytes)) in cases.iter().enumerate() {
        assert_eq!(refusal(&say(host.address, bytes)), Some(*code), "case {place}");
        assert_eq!(host.wait_for_faults(place + 1)[place], *kind, "case {place}");
    }
    let firsts = host.store.lock().expect("store").faults.iter().filter(|(_, is_first)| *is_first).count();
    assert_eq!(firsts, 5, "a log of firsts has a line per kind");
    assert_eq!(host.counters.faults.get(FaultKind::TooLarge), 3);
    serves(&host, &Folder::new(), None);
}

#[test]
fn slow_peers_run_out_of_time_before_and_after_hello_and_in_the_handshake() {
    // A byte now and then must not prolong anything.
    let dribble = |address: SocketAddr, quick: &[u8], slow: &[u8]| {
        let mut socket = TcpStream::connect(address).expect("connects");
        socket.write_all(quick).expect("quick");
        for byte in slow.iter().cycle().take(2000) {
            if socket.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the host listened to the end");
    };
    let host = plain(IMPATIENCE);
    let hello = frame(&DeviceMessage::Hello(hello()));
    dribble(host.address, &[], b"AF\x01\0\x80\0\0\0");
    let quick = [&hello[..], b"AF\x01\0\0\x40\0\0"].concat();
    dribble(host.address, &quick, &[0]);
    // And one that says nothing at all.
    assert_eq!(say(host.address, &[]), b"");
    assert_eq!(host.wait_for_faults(3), [FaultKind::Slow; 3]);

    let folder = fleet();
    let host = Host::tls(&folder, IMPATIENCE);
    // The beginning of a TLS record that says it is long.
    dribble(host.address, &[0x16, 3, 1, 0x10, 0, 1, 0, 0x0F], &[0]);
    assert_eq!(host.wait_for_faults(1), [FaultKind::Slow]);
}

#[test]
fn a_device_that_falls_silent_is_let_go() {
    let host = plain(IMPATIENCE);
    let _ = say(host.address, &frame(&DeviceMessage::Hello(hello())));
    assert_eq!(host.wait_for_faults(1), [FaultKind::Silent]);
}

#[test]
fn random_bytes_cost_one_fault_each() {
    let host = plain(IMPATIENCE);
    let mut random = Random::new(5);
    const ROUNDS: usize = 150;
    let honest = [frame(&DeviceMessage::Hello(hello())), record(1), frame(&DeviceMessage::Heartbeat(Heartbeat::default()))].concat();
    for round in 0..ROUNDS {
        // Half of them noise, half of them honest but for a few bytes.
        let mut bytes: Vec<u8> =
            if round % 2 == 0 { (0..random.below(400)).map(|_| random.bits() as u8).collect() } else { honest.clone() };
        for _ in 0..3 {
            let place = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(place) {
                *byte = random.bits() as u8;
            }
        }
        let mut socket = TcpStream::connect(host.address).expect("connects");
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    }
    host.wait_for_faults(ROUNDS);
    wait_for("the last to be gone", || host.counters.connections.load(Relaxed) == 0);
    assert_eq!(host.faults().len(), ROUNDS);
    serves(&host, &Folder::new(), None);
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let host = plain(PATIENCE);
    let held: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(host.address).expect("connects")).collect();
    wait_for("four connections", || host.counters.connections.load(Relaxed) == 4);
    assert_eq!(say(host.address, &[]), b"");
    assert_eq!(host.wait_for_faults(1), [FaultKind::TooMany]);
    drop(held);
    wait_for("room again", || host.counters.connections.load(Relaxed) == 0);
    serves(&host, &Folder::new(), None);
}

#[test]
fn a_replayed_session_is_refused_by_tls_and_has_no_effect_without() {
    let folder = fleet();
    let host = Host::tls(&folder, PATIENCE);
    let proxy = Proxy::start(host.address, 1, 0, 1);
    let mut link = TcpLink::new(proxy.address.to_string(), Some(&device_credentials(&folder.path("edge"))), PATIENCE).expect("a link");
    let mut session = link.connect().expect("connects");
    session.send(&DeviceMessage::Hello(hello())).expect("sends");
    let body = Bytes::new(&[1, 2, 3]).expect("fits");
    let record_of = |sequence| JournalRecord { id: RecordId { boot: 1, sequence }, priority: Priority::Event, body };
    session.send(&DeviceMessage::Record(record_of(1))).expect("sends");
    wait_for("the record", || host.store.lock().expect("store").records.len() == 1);
    drop(session);
    host.wait_for_faults(1);
    let recorded = proxy.recorded.lock().expect("recorded").clone();
    assert!(recorded.len() > 500, "a whole session was recorded");
    host.store.lock().expect("store").records.clear();
    say(host.address, &recorded);
    assert_eq!(host.wait_for_faults(2)[1], FaultKind::Tls);
    assert!(host.store.lock().expect("store").records.is_empty(), "a replayed record was taken");

    // On the loopback interface nothing is proved, but a record has one name.
    let host = plain(PATIENCE);
    let session = [frame(&DeviceMessage::Hello(hello())), record(1), record(2), record(1)].concat();
    for round in 1..=2 {
        let mut socket = TcpStream::connect(host.address).expect("connects");
        socket.write_all(&session).expect("sends");
        let taken = || {
            let store = host.store.lock().expect("store");
            store.records.len() as u64 + store.repeated
        };
        wait_for("three records", || taken() == 3 * round);
    }
    host.wait_for_faults(2);
    assert_eq!(host.store.lock().expect("store").records.len(), 2);
}

/// The faults of host and device when one with these credentials connects.
fn meet(host_files: &Credentials, device_files: &Credentials, says: &str) -> (Vec<FaultKind>, FaultKind) {
    let host = Host::start(Acceptor::new(host_files, PATIENCE).expect("credentials"), 4);
    let folder = Folder::new();
    let setup = DeviceSetup { device: says, ..DeviceSetup::new(&folder, host.address, Some(device_files.clone())) };
    let device = setup.start();
    let seen = device.wait_for_fault();
    let at_host = host.wait_for_faults(1);
    device.stop();
    (at_host, seen)
}

#[test]
fn wrong_certificates_are_told_apart_on_both_ends() {
    let (ours, theirs, now) = (fleet(), fleet(), SystemTime::now());
    let (host, device) = (host_credentials(&ours.path("host")), device_credentials(&ours.path("edge")));
    let (at_host, at_device) = meet(&host, &device_credentials(&theirs.path("edge")), "edge 1");
    // The device looks first: it does not know this host's authority.
    assert_eq!((at_host[0], at_device), (FaultKind::Rejected, FaultKind::UnknownAuthority));
    // It trusts the host, but its own certificate is another authority's.
    let stranger = Credentials { authority: host.authority.clone(), ..device_credentials(&theirs.path("edge")) };
    let (at_host, at_device) = meet(&host, &stranger, "edge 1");
    assert_eq!((at_host[0], at_device), (FaultKind::UnknownAuthority, FaultKind::Rejected));

    enrol(&ours, "edge 1", "expired", now - 11 * YEAR);
    let (at_host, at_device) = meet(&host, &device_credentials(&ours.path("expired")), "edge 1");
    assert_eq!((at_host[0], at_device), (FaultKind::Expired, FaultKind::Rejected));
    enrol(&ours, "edge 1", "early", now + 3 * DAY);
    let (at_host, at_device) = meet(&host, &device_credentials(&ours.path("early")), "edge 1");
    assert_eq!((at_host[0], at_device), (FaultKind::NotYetValid, FaultKind::Rejected));
    let (at_host, at_device) = meet(&host, &device, "edge 2");
    assert_eq!((at_host[0], at_device), (FaultKind::WrongDevice, FaultKind::Refused));

    // A device's certificate does not make a host.
    let (at_host, at_device) = meet(&device, &device, "edge 1");
    assert_eq!((at_host[0], at_device), (FaultKind::Rejected, FaultKind::WrongCertificate));
    // A host whose certificate has expired.
    let old = Folder::new();
    create_authority(&old.path("host"), now - 11 * YEAR).expect("an authority");
    enrol(&old, "edge 1", "edge", now);
    let (at_host, at_device) = meet(&host_credentials(&old.path("host")), &device_credentials(&old.path("edge")), "edge 1");
    assert_eq!((at_host[0], at_device), (FaultKind::Rejected, FaultKind::Expired));
}

#[test]
fn a_peer_without_certificate_or_without_tls_is_refused() {
    let folder = fleet();
    let host = Host::tls(&folder, PATIENCE);
    say(host.address, &frame(&DeviceMessage::Hello(hello())));
    assert_eq!(host.wait_for_faults(1)[0], FaultKind::Tls);

    // A TLS client that trusts anybody's authority and shows nothing.
    let mut roots = rustls::RootCertStore::empty();
    let authority = std::fs::read(folder.path("host").join("authority.crt")).expect("reads");
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&authority).expect("a certificate")).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connection =
        rustls::ClientConnection::new(Arc::new(config), ServerName::try_from("alfred-host").expect("a name")).expect("tls");
    let mut socket = TcpStream::connect(host.address).expect("connects");
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let _ = stream.write_all(&frame(&DeviceMessage::Hello(hello())));
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(host.wait_for_faults(2)[1], FaultKind::NoCertificate);
    serves(&host, &folder, Some(device_credentials(&folder.path("edge"))));
}

#[test]
fn tls_that_ends_without_a_farewell_is_truncated() {
    let folder = fleet();
    let host = Host::tls(&folder, PATIENCE);
    let mut link = TcpLink::new(host.address.to_string(), Some(&device_credentials(&folder.path("edge"))), PATIENCE).expect("a link");
    let mut session = link.connect().expect("connects");
    session.send(&DeviceMessage::Hello(hello())).expect("sends");
    assert!(matches!(session.receive(PATIENCE.message), Ok(Some(HostMessage::Welcome(_)))));
    // The socket closes, TLS says nothing: somebody between may have cut it.
    drop(session);
    assert_eq!(host.wait_for_faults(1), [FaultKind::Truncated]);
    // Within the handshake.
    let mut socket = TcpStream::connect(host.address).expect("connects");
    socket.write_all(&[0x16, 3, 1, 0, 200, 1]).expect("sends");
    drop(socket);
    assert_eq!(host.wait_for_faults(2)[1], FaultKind::Truncated);
}

#[test]
fn without_certificates_only_the_loopback_interface_is_served_and_called() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let fault = Acceptor::plain(PATIENCE).listen(everywhere).expect_err("not there");
    assert!(matches!(fault, LinkFault::NotLoopback(_)) && fault.to_string().contains("enrol"), "{fault}");
    // An address for documentation: nobody is called.
    let mut link = TcpLink::new("192.0.2.1:7443".to_owned(), None, PATIENCE).expect("a link");
    assert!(matches!(link.connect(), Err(LinkFault::NotLoopback(_))));
}
