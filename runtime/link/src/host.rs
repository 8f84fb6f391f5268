//! The host's side: lets devices in, one thread each, and holds the conversation; what is done with what they say is the caller's.

use crate::fault::{FaultCounters, LinkFault};
use crate::limits::{COMMIT_RECORDS_MAX, TICK};
use crate::tcp::{Acceptor, HostSession};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleAsk, BundleChunk, BundleState, CHUNK_BYTES_MAX, DeviceMessage, Heartbeat, Hello, HostMessage, JournalRecord, Receipt, RecordId,
    Refused, Welcome,
};
use alfred_wire::name::Bytes;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Stack of a connection's thread.
const CONNECTION_STACK_BYTES: usize = 512 * 1024;

/// What the host does with one device's words. Called on the connection's thread.
pub trait HostSide {
    /// A device introduces itself; with TLS its name is proved.
    ///
    /// # Errors
    /// Why it may not go on; it is told.
    fn hello(&mut self, hello: &Hello) -> Result<Welcome, ErrorCode>;

    /// Takes a record, for good only after [`HostSide::commit`]. It may come again: its id and the device are its name.
    ///
    /// # Errors
    /// [`ErrorCode::LinkRecord`]: its content cannot be read, it is kept aside with the next commit, and the device need not keep it. Any
    /// other code ends the connection, and the device keeps the record.
    fn record(&mut self, record: &JournalRecord<'_>) -> Result<(), ErrorCode>;

    /// Makes what was taken durable: only then the device frees it.
    ///
    /// # Errors
    /// Ends the connection; the device keeps its records.
    fn commit(&mut self) -> Result<(), ErrorCode>;

    /// Health figures.
    fn heartbeat(&mut self, heartbeat: &Heartbeat);

    /// What became of a bundle.
    fn bundle_state(&mut self, state: &BundleState);

    /// The device refuses something.
    fn refused(&mut self, refused: &Refused);

    /// Copies the part of a bundle that begins at `ask.offset`; returns its bytes, 0: there is no such part.
    fn part(&mut self, ask: &BundleAsk, part: &mut [u8; CHUNK_BYTES_MAX]) -> usize;

    /// Something to tell the device: an offer, settings. Asked often; must not wait.
    fn next(&mut self) -> Option<HostMessage<'static>>;
}

/// What a message asks for.
enum Reply {
    Nothing,
    Part(BundleAsk),
}

/// Records that are taken and not yet committed.
type Taken = Vec<(RecordId, Result<(), ErrorCode>)>;

/// Holds the conversation with one device until it ends. `Ok` when `stop` was set.
///
/// # Errors
/// Why it ended; the device has been told if that makes sense.
pub fn converse(mut session: HostSession, side: &mut impl HostSide, acceptor: &Acceptor, stop: &AtomicBool) -> Result<(), LinkFault> {
    let outcome = talk(&mut session, side, acceptor, stop);
    let code = outcome.as_ref().err().and_then(LinkFault::code);
    if let Some(code) = code {
        let _ = session.send(&HostMessage::Refused(Refused { code: code.number(), record: None, revision: None }));
    }
    session.farewell();
    outcome
}

fn talk(session: &mut HostSession, side: &mut impl HostSide, acceptor: &Acceptor, stop: &AtomicBool) -> Result<(), LinkFault> {
    let Some(welcome) = greet(session, side, acceptor.patience().message, stop)? else { return Ok(()) };
    session.allow_records();
    session.send(&HostMessage::Welcome(welcome))?;
    let silence = acceptor.patience().silence + 3 * Duration::from_secs(u64::from(welcome.heartbeat_period_s));
    let mut taken: Taken = Vec::with_capacity(COMMIT_RECORDS_MAX);
    let mut heard_at = Instant::now();
    while !stop.load(Relaxed) {
        while let Some(message) = side.next() {
            session.send(&message)?;
        }
        // Nothing more has come: commit, so that nobody waits for a batch to fill.
        let wait = if taken.is_empty() { TICK } else { Duration::ZERO };
        match session.receive(wait)? {
            Some(message) => {
                heard_at = Instant::now();
                if let Reply::Part(ask) = hear(&message, side, &mut taken)? {
                    send_part(session, side, &ask)?;
                }
                if taken.len() >= COMMIT_RECORDS_MAX {
                    commit(session, side, &mut taken)?;
                }
            }
            None if !taken.is_empty() => commit(session, side, &mut taken)?,
            None if heard_at.elapsed() > silence => return Err(LinkFault::Silent),
            None => {}
        }
    }
    if taken.is_empty() { Ok(()) } else { commit(session, side, &mut taken) }
}

/// The device's Hello; `None` when the host stops meanwhile.
fn greet(session: &mut HostSession, side: &mut impl HostSide, patience: Duration, stop: &AtomicBool) -> Result<Option<Welcome>, LinkFault> {
    let end = Instant::now() + patience;
    let proved = session.device();
    while !stop.load(Relaxed) {
        match session.receive(TICK)? {
            Some(DeviceMessage::Hello(hello)) => {
                if let Some(certificate) = proved.filter(|name| *name != hello.device) {
                    return Err(LinkFault::WrongDevice { certificate: Box::new(certificate), hello: Box::new(hello.device) });
                }
                return side.hello(&hello).map(Some).map_err(LinkFault::Refusing);
            }
            Some(_) => return Err(LinkFault::Unexpected("a device must begin with Hello")),
            None if Instant::now() >= end => return Err(LinkFault::Slow("it does not say Hello")),
            None => {}
        }
    }
    Ok(None)
}

fn hear(message: &DeviceMessage<'_>, side: &mut impl HostSide, taken: &mut Taken) -> Result<Reply, LinkFault> {
    match message {
        DeviceMessage::Hello(_) => return Err(LinkFault::Unexpected("a second Hello")),
        DeviceMessage::Heartbeat(heartbeat) => side.heartbeat(heartbeat),
        DeviceMessage::Record(record) => match side.record(record) {
            outcome @ (Ok(()) | Err(ErrorCode::LinkRecord)) => taken.push((record.id, outcome)),
            Err(code) => return Err(LinkFault::Refusing(code)),
        },
        DeviceMessage::BundleState(state) => side.bundle_state(state),
        DeviceMessage::Refused(refused) => side.refused(refused),
        DeviceMessage::BundleAsk(ask) => return Ok(Reply::Part(*ask)),
    }
    Ok(Reply::Nothing)
}

fn commit(session: &mut HostSession, side: &mut impl HostSide, taken: &mut Taken) -> Result<(), LinkFault> {
    side.commit().map_err(LinkFault::Refusing)?;
    for (id, outcome) in taken.drain(..) {
        let answer = match outcome {
            Ok(()) => HostMessage::Receipt(Receipt { id }),
            Err(code) => HostMessage::Refused(Refused { code: code.number(), record: Some(id), revision: None }),
        };
        session.send(&answer)?;
    }
    Ok(())
}

fn send_part(session: &mut HostSession, side: &mut impl HostSide, ask: &BundleAsk) -> Result<(), LinkFault> {
    let mut part = [0; CHUNK_BYTES_MAX];
    let length = side.part(ask, &mut part).min(CHUNK_BYTES_MAX);
    let bytes = Bytes::new(&part[..length]).unwrap_or(Bytes::EMPTY);
    session.send(&HostMessage::BundleChunk(BundleChunk { revision: ask.revision, offset: ask.offset, bytes }))?;
    Ok(())
}

/// What a server tells about itself.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections that ended, and those that never came about, by their fault.
    pub faults: FaultCounters,
    /// Connections now.
    pub connections: AtomicUsize,
}

/// Serves devices until `stop` is set: one thread each, at most `connections_max`. `open` makes the side of a new connection; `on_fault` is
/// told once per connection, with whether it is the first fault of its kind: a log that writes only those cannot be flooded.
///
/// # Errors
/// [`LinkFault::Broken`] when the listener fails.
pub fn serve<H: HostSide>(
    listener: &TcpListener,
    acceptor: &Acceptor,
    connections_max: usize,
    stop: &AtomicBool,
    counters: &ServerCounters,
    open: impl Fn(&HostSession) -> H + Sync,
    on_fault: impl Fn(SocketAddr, &LinkFault, bool) + Sync,
) -> Result<(), LinkFault> {
    listener.set_nonblocking(true).map_err(LinkFault::Broken)?;
    let ended = |address, fault: &LinkFault| on_fault(address, fault, counters.faults.count(fault.kind()));
    let (open, ended) = (&open, &ended);
    thread::scope(|scope| {
        while !stop.load(Relaxed) {
            let (socket, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                    thread::sleep(TICK / 5);
                    continue;
                }
                Err(error) => {
                    // Out of file descriptors, say: it may pass.
                    counters.faults.count(LinkFault::Broken(error).kind());
                    thread::sleep(TICK);
                    continue;
                }
            };
            if counters.connections.load(Relaxed) >= connections_max {
                ended(address, &LinkFault::TooMany(connections_max));
                continue;
            }
            counters.connections.fetch_add(1, Relaxed);
            let work = move || {
                let outcome = acceptor.accept(socket).and_then(|session| {
                    let mut side = open(&session);
                    converse(session, &mut side, acceptor, stop)
                });
                if let Err(fault) = outcome {
                    ended(address, &fault);
                }
                counters.connections.fetch_sub(1, Relaxed);
            };
            let thread = thread::Builder::new().name("device".into()).stack_size(CONNECTION_STACK_BYTES);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                counters.connections.fetch_sub(1, Relaxed);
                ended(address, &LinkFault::Broken(error));
            }
        }
        Ok(())
    })
}
