//! The daemon's binary: it wires the parts of the library together and reports what fails at start.

use std::process::ExitCode;
use std::time::Duration;

use eventd::options::{self, Action, HELP};
use eventd::router::SignalRouter;
use eventd::scheme::{Host, Scheme};
use eventd::server::Server;
use libredox::call;
use libredox::flag::CLOCK_MONOTONIC;
use log::LevelFilter;
use redox_log::{OutputBuilder, RedoxLogger};
use redox_scheme::Socket;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Action::Help) => print!("{HELP}"),
        Ok(Action::Version) => println!("eventd {}", env!("CARGO_PKG_VERSION")),
        Ok(Action::Serve(level)) => {
            if let Err(message) = serve(level) {
                eprintln!("eventd: {message}");
                return ExitCode::from(1);
            }
        }
        Err(message) => {
            eprintln!("eventd: {message} (eventd --help tells more)");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn serve(level: LevelFilter) -> Result<(), String> {
    start_log(level)?;
    let ready = readiness_descriptor()?;
    let identity = |what: &str, id: libredox::error::Result<usize>| {
        id.map(|id| id as u32).map_err(|error| format!("cannot get {what}: {error}"))
    };
    let host = Host {
        uid: identity("the user id", call::geteuid())?,
        gid: identity("the group id", call::getegid())?,
        monotonic,
    };
    let socket = Socket::create().map_err(|error| format!("cannot create a scheme: {}", text(error)))?;
    let mut scheme = Scheme::new(host);
    let routed = route_signals(&socket, &mut scheme);
    let mut server = Server::register(socket, scheme)
        .map_err(|error| format!("cannot register /scheme/{}: {}", eventd::NAME, text(error)))?;
    if let Err(cause) = routed {
        log::warn!("no signalfd: cannot use /scheme/proc/signal-router: {cause}");
    }
    if let Some(descriptor) = ready {
        notify(descriptor).map_err(|error| format!("cannot tell init that eventd is ready: {error}"))?;
    }
    // Everything that eventd needs is open. From here on it can open nothing else.
    call::setrens(0, 0).map_err(|error| format!("cannot enter the null namespace: {error}"))?;
    log::info!("serving /scheme/{}", eventd::NAME);
    server.run().map_err(|error| format!("cannot go on serving /scheme/{}: {}", eventd::NAME, text(error)))?;
    log::info!("ended");
    Ok(())
}

/// Gives the scheme a way to signals, if the system has one. Without it signalfd fails with ENOSYS, and all else is as ever.
fn route_signals(socket: &Socket, scheme: &mut Scheme) -> Result<(), String> {
    let router = SignalRouter::open(socket.inner().raw()).map_err(|error| error.to_string())?;
    let news = scheme.news();
    let descriptor = socket.create_this_scheme_fd(0, news, 0, 0).map_err(text)?;
    let messenger = router.messenger(descriptor).map_err(|error| error.to_string())?;
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(messenger).map_err(|error| format!("cannot start a thread: {error}"))?;
    scheme.route_signals(Box::new(router));
    Ok(())
}

/// An error in the words of the system, which may know more than the number's name.
fn text(error: syscall::Error) -> String {
    libredox::error::Error::from(error).to_string()
}

/// Logs where daemons log on Redox, and to standard error, which init connects to logd.
fn start_log(level: LevelFilter) -> Result<(), String> {
    let mut logger = RedoxLogger::new().with_process_name(eventd::NAME.into());
    logger = logger.with_output(OutputBuilder::stderr().with_filter(level).build());
    // Elsewhere redox-log would collect this output in memory for ever.
    if cfg!(target_os = "redox")
        && let Ok(output) = OutputBuilder::in_redox_logging_scheme("sys", "ipc", eventd::NAME)
    {
        logger = logger.with_output(output.with_filter(level).build());
    }
    logger.enable().map(|_| ()).map_err(|error| format!("cannot start the log: {error}"))
}

/// The descriptor on which init waits for readiness; none when a person started eventd.
fn readiness_descriptor() -> Result<Option<usize>, String> {
    match std::env::var("INIT_NOTIFY") {
        Ok(number) => number.parse().map(Some).map_err(|_| format!("INIT_NOTIFY is no descriptor number: {number}")),
        Err(_) => Ok(None),
    }
}

fn notify(descriptor: usize) -> libredox::error::Result<()> {
    call::write(descriptor, &[0])?;
    call::close(descriptor)
}

fn monotonic() -> Duration {
    call::clock_gettime(CLOCK_MONOTONIC).map_or(Duration::ZERO, |time| {
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    })
}
