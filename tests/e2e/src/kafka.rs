//! A real broker.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{OutsideClient, Process, Scratch, Signal, free_port};

const READY: &str = "Kafka Server started";
const START_TIMEOUT: Duration = Duration::from_secs(240);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How a private broker differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// Lines for `server.properties`, such as `("transactional.id.expiration.ms", "10000")`.
    pub properties: Vec<(String, String)>,
    /// Number of listeners that a [`Proxy`](crate::Proxy) can stand in front of.
    pub proxied_listeners: usize,
    /// Names and passwords of users. If there are any, the broker has a listener with TLS and SASL/PLAIN, and those who come that way may do what
    /// [`OutsideClient::allow`] has allowed them.
    pub users: Vec<(String, String)>,
}

/// A listener with TLS and SASL/PLAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecuredListener {
    /// Where the broker listens.
    pub address: SocketAddr,
    /// The certificate to trust.
    pub certificate: PathBuf,
}

/// A listener whose clients are told to come to another port, where a proxy has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiedListener {
    /// Where the proxy listens: what clients take as bootstrap address, and what the broker advertises.
    pub listen: SocketAddr,
    /// Where the broker listens.
    pub upstream: SocketAddr,
}

/// One Apache Kafka broker in `KRaft` mode, and an outside client for it.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    broker: Option<Mutex<Broker>>,
    proxied: Vec<ProxiedListener>,
    secured: Option<SecuredListener>,
    client: OnceLock<OutsideClient>,
}

#[derive(Debug)]
struct Broker {
    // Before the directory: it is dropped, and with it dead, first.
    process: Option<Process>,
    environment: Vec<(&'static str, String)>,
    starts: u32,
    scratch: Scratch,
}

impl Kafka {
    /// The broker of this test run: the one that `MILLSTREAM_TEST_KAFKA` names, or one that this test binary starts.
    /// Do not stop or configure it; others are using it.
    ///
    /// # Errors
    /// If it does not start; all later calls fail for the same reason.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let kafka = match std::env::var("MILLSTREAM_TEST_KAFKA") {
                Ok(bootstrap) => Ok(Self::at(&bootstrap)),
                Err(_) => Self::start(&KafkaOptions::default()),
            };
            kafka.map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// A broker that somebody else started.
    #[must_use]
    pub fn at(bootstrap: &str) -> Self {
        let bootstrap = bootstrap.to_owned();
        Self { bootstrap, broker: None, proxied: Vec::new(), secured: None, client: OnceLock::new() }
    }

    /// Starts a private broker and waits until it is ready; it is gone when this is dropped.
    ///
    /// # Errors
    /// If it does not start; the end of its log is part of the error.
    pub fn start(options: &KafkaOptions) -> Result<Self> {
        let port = free_port()?;
        let mut proxied = Vec::new();
        for _ in 0..options.proxied_listeners {
            proxied.push(ProxiedListener { listen: loopback(free_port()?), upstream: loopback(free_port()?) });
        }
        let pairs: Vec<String> =
            proxied.iter().map(|pair| format!("{}={}", pair.upstream.port(), pair.listen.port())).collect();
        let lines: Vec<String> = options.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut broker = Broker {
            process: None,
            environment: vec![
                ("KAFKA_PORT", port.to_string()),
                ("KAFKA_PROXIED", pairs.join(" ")),
                ("KAFKA_PROPERTIES", lines.join("\n")),
            ],
            starts: 0,
            scratch: Scratch::new("kafka")?,
        };
        let mut secured = None;
        if !options.users.is_empty() {
            let users: Vec<String> =
                options.users.iter().map(|(name, password)| format!("{name}:{password}")).collect();
            let port = free_port()?;
            broker.environment.extend([("KAFKA_SECURED", port.to_string()), ("KAFKA_USERS", users.join(" "))]);
            let certificate = broker.scratch.path().join("data/ca.pem");
            secured = Some(SecuredListener { address: loopback(port), certificate });
        }
        broker.start()?;
        Ok(Self {
            bootstrap: loopback(port).to_string(),
            broker: Some(Mutex::new(broker)),
            proxied,
            secured,
            client: OnceLock::new(),
        })
    }

    /// The address for clients that come directly.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The listeners that were asked for with [`KafkaOptions::proxied_listeners`].
    #[must_use]
    pub fn proxied(&self) -> &[ProxiedListener] {
        &self.proxied
    }

    /// The listener for [`KafkaOptions::users`].
    #[must_use]
    pub fn secured(&self) -> Option<&SecuredListener> {
        self.secured.as_ref()
    }

    /// A client that shares no code with Millstream; started at the first call.
    ///
    /// # Errors
    /// If it does not start.
    pub fn client(&self) -> Result<&OutsideClient> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = OutsideClient::start(&self.bootstrap)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Makes a topic with a name nobody else has; gives the name.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn topic(&self, name: &str, partitions: i32) -> Result<String> {
        let topic = unique(name);
        self.client()?.create_topic(&topic, partitions, &[])?;
        Ok(topic)
    }

    /// Kills the broker, as a power cut does.
    ///
    /// # Errors
    /// If the broker is not ours.
    pub fn kill(&self) -> Result<()> {
        self.broker()?.process.take().context("the broker is not running")?.kill().map(drop)
    }

    /// Stops the broker in good order.
    ///
    /// # Errors
    /// If the broker is not ours, or does not stop.
    pub fn stop(&self) -> Result<()> {
        let mut process = self.broker()?.process.take().context("the broker is not running")?;
        process.signal(Signal::Terminate)?;
        process.wait(STOP_TIMEOUT).map(drop)
    }

    /// Starts the broker again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same data and ports.
    ///
    /// # Errors
    /// If the broker is not ours, or does not start.
    pub fn restart(&self) -> Result<()> {
        self.broker()?.start()
    }

    /// Freezes the broker: connections stay, nothing answers.
    ///
    /// # Errors
    /// If the broker is not ours.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// If the broker is not ours.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::Continue)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.broker()?.process.as_mut().context("the broker is not running")?.signal(signal)
    }

    fn broker(&self) -> Result<MutexGuard<'_, Broker>> {
        let broker = self.broker.as_ref().context("this broker is shared; take a private one with Kafka::start")?;
        Ok(broker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Broker {
    fn start(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the broker is already running");
        }
        self.starts += 1;
        let log = self.scratch.path().join(format!("broker-{}.log", self.starts));
        let output = File::create(&log)?;
        let mut command = Command::new(path("kafka.sh"));
        command.arg("run").arg(self.scratch.path().join("data"));
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = Process::spawn("the Kafka broker", command)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !std::fs::read_to_string(&log)?.contains(READY) {
            if process.exited()?.is_some() || Instant::now() > deadline {
                bail!("the Kafka broker did not start:\n{}", tail(&log, 20));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process = Some(process);
        Ok(())
    }
}

/// A name nobody else uses, in this run or in another one on the same broker.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{:x}-{number}", std::process::id())
}

/// Where a file of `tests/kafka` is.
pub(crate) fn path(file: &str) -> String {
    format!("{}/../kafka/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The class path of broker and client; makes sure that everything on it is there.
pub(crate) fn classpath() -> Result<String> {
    static CLASSPATH: OnceLock<Result<String, String>> = OnceLock::new();
    let classpath = CLASSPATH.get_or_init(|| script("fetch").and_then(|_| script("classpath")));
    classpath.as_ref().cloned().map_err(|error| anyhow!("{error}"))
}

fn script(verb: &str) -> Result<String, String> {
    let output = Command::new(path("kafka.sh")).arg(verb).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run kafka.sh: {error}"))?;
    if !output.status.success() {
        return Err(format!("kafka.sh {verb} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, count: usize) -> String {
    let text = std::fs::read(PathBuf::from(log)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
