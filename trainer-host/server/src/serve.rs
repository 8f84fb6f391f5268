//! The daemon: opens the database and both doors, and runs until told to stop.

use crate::config::ServerConfig;
use crate::database::Database;
use crate::device::DeviceSide;
use crate::error::ServeError;
use crate::expert::Expert;
use crate::http::{self, App};
use crate::mqtt::Mqtt;
use alfred_link::enrol::host_credentials;
use alfred_link::host::{self, ServerCounters};
use alfred_link::limits::Patience;
use alfred_link::tcp::Acceptor;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

/// Threads that answer HTTP; the database's work runs on others.
const HTTP_THREADS: usize = 2;
/// Threads for work that waits for the database. There are two connections to it, more threads would only queue.
const DATABASE_THREADS_MAX: usize = 8;

/// Serves until `stop` is set.
///
/// # Errors
/// [`ServeError`] names what keeps it from starting.
pub fn serve(config: &ServerConfig, stop: &AtomicBool) -> Result<(), ServeError> {
    Server::bind(config)?.run(stop)
}

/// A daemon whose doors are open and that answers nobody yet.
pub struct Server {
    config: ServerConfig,
    http: TcpListener,
    devices: Option<(TcpListener, Acceptor)>,
    app: App,
}

impl Server {
    /// Opens database and doors.
    ///
    /// # Errors
    /// [`ServeError`] names what keeps it from starting.
    pub fn bind(config: &ServerConfig) -> Result<Self, ServeError> {
        config.check()?;
        let database = Database::open(&config.database)?;
        let listen = |address| {
            let refuse = |source| ServeError::Listen { address, source };
            let listener = TcpListener::bind(address).map_err(refuse)?;
            listener.set_nonblocking(true).map_err(refuse)?;
            Ok::<_, ServeError>(listener)
        };
        let http = listen(config.http)?;
        let devices = match config.devices {
            None => None,
            Some(address) => {
                let acceptor = match &config.credentials {
                    Some(folder) => Acceptor::new(&host_credentials(folder), Patience::USUAL)?,
                    None => Acceptor::plain(Patience::USUAL),
                };
                Some((acceptor.listen(address)?, acceptor))
            }
        };
        let mut app = App::new(database, config, Arc::new(ServerCounters::default()));
        app.mqtt = config.mqtt.as_ref().map(Mqtt::new).transpose()?.map(Arc::new);
        Ok(Self { config: config.clone(), http, devices, app })
    }

    /// Gives the daemon somebody who knows models; without, score curves, drift and strategies that look for differences say that they need one.
    #[must_use]
    pub fn with_expert(mut self, expert: Arc<dyn Expert>) -> Self {
        self.app.expert = Some(expert);
        self
    }

    /// Where the page is served; the port is the real one when the configuration says 0.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn http_address(&self) -> Result<SocketAddr, ServeError> {
        self.http.local_addr().map_err(|source| ServeError::Listen { address: self.config.http, source })
    }

    /// Where devices connect.
    #[must_use]
    pub fn device_address(&self) -> Option<SocketAddr> {
        self.devices.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Serves until `stop` is set; requests that have begun are answered.
    ///
    /// # Errors
    /// [`ServeError::System`] without threads, [`ServeError::Link`] when the devices' door breaks.
    pub fn run(self, stop: &AtomicBool) -> Result<(), ServeError> {
        let Self { config, http, devices, app } = self;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(DATABASE_THREADS_MAX)
            .thread_name("http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| ServeError::System(error.to_string()))?;
        thread::scope(|scope| {
            let door = devices.map(|(listener, acceptor)| {
                let (app, config) = (app.clone(), &config);
                scope.spawn(move || serve_devices(&listener, &acceptor, &app, config, stop))
            });
            let served = runtime.block_on(async {
                let northbound = app.mqtt.as_ref().and_then(|mqtt| mqtt.start(app.database.clone()));
                let served = http::run(http, app, &config, stop).await;
                if let Some(northbound) = northbound {
                    northbound.end().await;
                }
                served
            });
            // Whoever ends first takes the other along.
            stop.store(true, Relaxed);
            let devices =
                door.map_or(Ok(()), |door| door.join().unwrap_or_else(|_| Err(ServeError::System("the devices' thread ended".into()))));
            served.and(devices)
        })
    }
}

fn serve_devices(
    listener: &TcpListener,
    acceptor: &Acceptor,
    app: &App,
    config: &ServerConfig,
    stop: &AtomicBool,
) -> Result<(), ServeError> {
    let open = |session: &alfred_link::tcp::HostSession| {
        DeviceSide::new(app.database.clone(), session.device().is_some(), config.heartbeat_period_s, app.mqtt.clone())
    };
    let on_fault = |address: SocketAddr, fault: &alfred_link::fault::LinkFault, is_first: bool| {
        // Only the first of each kind: the others are counted, and nobody can flood the log.
        if is_first {
            eprintln!("device at {address}: {fault}");
        }
    };
    let served = host::serve(listener, acceptor, config.devices_max, stop, &app.link, open, on_fault);
    stop.store(true, Relaxed);
    Ok(served?)
}
