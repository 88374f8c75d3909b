//! Parses the arguments, starts the log, runs one command. No logic lives here.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::CommandFactory;
use titlecast::{
    api,
    app::{self, App, StartError},
    auth::{self, TokenRequest},
    commands,
    config::{
        BackfillArguments, Cli, Command, ImportArguments, Migrate, Settings, StatsArguments,
        TokenArguments,
    },
    conversation::Owner,
    db::StatsFilter,
    panics,
    telemetry::{self, LogFormat},
    titles::backfill::Backfill,
};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;

/// Shutdown time beyond the drain times of the settings.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

// Only the binary sets an allocator, not the library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("titlecast: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run());
    // Do not wait for blocking tasks that hang, such as DNS lookups.
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    // Tests stop a real process at failpoints, by FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let format = cli.settings.log_format;
    let command = cli.command.unwrap_or(Command::Serve);
    // These commands report on standard output.
    let quiet = matches!(
        command,
        Command::Backfill(_) | Command::Import(_) | Command::Stats(_)
    );
    let usual = if quiet { "warn" } else { "info" };
    // Other commands have nothing to trace.
    let is_traced = matches!(command, Command::Serve | Command::Backfill(_));
    let collector = cli.settings.otlp_endpoint.as_deref();
    // These commands need no settings, so an invalid log setting must not stop them.
    let is_logged = !matches!(command, Command::Completions { .. } | Command::Man);
    let start = || {
        telemetry::start(
            cli.settings.log_format,
            cli.settings.log.as_deref().unwrap_or(usual),
            collector.filter(|url| is_traced && !url.is_empty()),
        )
    };
    let telemetry = match is_logged.then(start).transpose() {
        Ok(telemetry) => telemetry,
        Err(error) => return end(Err(error.into()), format),
    };
    if is_logged {
        panics::log_without_text();
    }
    let result = match command {
        Command::Serve => serve(cli.settings).await,
        Command::Migrate { direction } => migrate(&cli.settings, direction).await,
        Command::Backfill(arguments) => backfill(cli.settings, &arguments).await,
        Command::Import(arguments) => import(&cli.settings, &arguments).await,
        Command::Stats(arguments) => stats(&cli.settings, arguments).await,
        Command::Token(arguments) => token(&cli.settings, arguments),
        Command::Health => commands::health::run(cli.settings.listen)
            .await
            .map_err(StartError::Health),
        Command::Schema => print(api::graphql::sdl()),
        Command::Completions { shell } => {
            print(commands::shell::completions(Cli::command(), shell))
        }
        Command::Man => commands::shell::man(Cli::command())
            .map_err(StartError::Output)
            .and_then(print),
    };
    if let Some(telemetry) = telemetry {
        telemetry.stop().await;
    }
    end(result, format)
}

/// The exit code. Prints a failure as the last line of standard error.
fn end(result: Result<(), StartError>, format: LogFormat) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", telemetry::last_line(format, &error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints to standard output. A closed pipe, as with `head`, is not an error.
fn print(text: impl AsRef<[u8]>) -> Result<(), StartError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(StartError::Output(error)),
        _ => Ok(()),
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let mut signals = Signals::listen();
    let shutdown_timeout = settings.drain_delay + settings.drain + SHUTDOWN_GRACE;
    let (address, metrics_address) = (settings.listen, settings.metrics_listen);
    let has_pages = settings.pages;
    let is_exposed =
        |address: SocketAddr| !address.ip().is_loopback() && !settings.allow_unauthenticated;
    if is_exposed(address) && !settings.jwt.settings().is_on() {
        return Err(StartError::Exposed(address));
    }
    if is_exposed(metrics_address) {
        return Err(StartError::ExposedMetrics(metrics_address));
    }
    let app = tokio::select! {
        app = App::build(settings) => app?,
        () = signals.next() => return Ok(()),
    };
    let (listener, address) = listen(address, app::LISTEN).await?;
    let (metrics, metrics_address) = listen(metrics_address, app::METRICS_LISTEN).await?;
    tracing::info!(%metrics_address, "serving metrics");
    tracing::info!(%address, database = app.database().kind(), "listening");
    if has_pages {
        let here = commands::health::from_this_machine(address);
        tracing::info!("open http://{here}/ to try it");
    }
    let (stop, stopping) = (CancellationToken::new(), CancellationToken::new());
    let watch_signals = async {
        signals.next().await;
        stop.cancel();
        let force_shutdown = async {
            signals.next().await;
            app.force_shutdown();
            std::future::pending::<()>().await;
        };
        // Exit with an error if the shutdown hangs, before a service manager kills the process.
        let _ = timeout(shutdown_timeout, force_shutdown).await;
        StartError::Hung(shutdown_timeout)
    };
    let serve = async {
        app.serve(app.access(), listener, stop.clone().cancelled_owned())
            .await;
        // Metrics are served until the last reply has ended.
        stopping.cancel();
    };
    let serve_metrics = app.serve_metrics(metrics, stopping.clone().cancelled_owned());
    let run = async {
        tokio::join!(serve, serve_metrics);
        app.clone().close().await;
        tracing::info!("stopped");
        Ok(())
    };
    tokio::select! {
        result = run => result,
        error = watch_signals => Err(error),
    }
}

async fn backfill(settings: Settings, arguments: &BackfillArguments) -> Result<(), StartError> {
    let (db, titles) = app::titles(&settings).await?;
    let backfill = Backfill {
        tenant: arguments.tenant.clone(),
        limit: arguments.limit,
        since: arguments.since,
        per_minute: arguments.rate,
        budget_tokens: arguments.budget_tokens,
    };
    let failed = StartError::Command;
    if arguments.dry_run {
        commands::backfill::dry_run(&titles, &backfill, arguments.price)
            .await
            .map_err(failed)?;
    } else {
        let interrupt = CancellationToken::new();
        let run = commands::backfill::run(&titles, &backfill, &interrupt);
        if !interruptible(run, &interrupt).await.map_err(failed)? {
            return Err(StartError::Unfinished);
        }
    }
    db.close().await.map_err(failed)
}

async fn import(settings: &Settings, arguments: &ImportArguments) -> Result<(), StartError> {
    let db = app::database(settings).await?;
    // With tokens, there is no local owner.
    let has_tokens = settings.jwt.settings().is_on();
    let owner = (!has_tokens).then(Owner::local);
    let interrupt = CancellationToken::new();
    let run = commands::import::run(&db, arguments, owner, &interrupt);
    if !interruptible(run, &interrupt).await? {
        return Err(StartError::Unfinished);
    }
    db.close().await.map_err(StartError::Command)
}

/// Runs a future to its end; a signal cancels `interrupt`.
async fn interruptible<T>(run: impl Future<Output = T>, interrupt: &CancellationToken) -> T {
    let mut signals = Signals::listen();
    let mut run = std::pin::pin!(run);
    tokio::select! {
        result = &mut run => result,
        () = signals.next() => {
            interrupt.cancel();
            run.await
        }
    }
}

async fn stats(settings: &Settings, arguments: StatsArguments) -> Result<(), StartError> {
    let db = app::database(settings).await?;
    let scope = StatsFilter {
        tenant: arguments.tenant,
        since: arguments.since,
    };
    commands::stats::run(&db, &scope, arguments.json)
        .await
        .map_err(StartError::Command)
}

fn token(settings: &Settings, arguments: TokenArguments) -> Result<(), StartError> {
    let request = TokenRequest {
        tenant: arguments.tenant,
        user: arguments.user,
        scopes: arguments.scopes,
        lifetime: arguments.expires,
    };
    let token = auth::mint(&settings.jwt.settings(), &request)?;
    print(format!("{token}\n"))
}

/// Binds a listener and returns its address, whose port the system chooses for port 0.
async fn listen(
    address: SocketAddr,
    setting: &'static str,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen_error = |cause| StartError::Listen {
        address,
        setting,
        cause,
    };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    Ok((listener, address))
}

async fn migrate(settings: &Settings, direction: Migrate) -> Result<(), StartError> {
    let (db, state) = app::open(settings, 1).await?;
    if matches!(direction, Migrate::Up { .. }) {
        app::misled(&state)?;
    }
    let before = db.migrations().await.map_err(StartError::Schema)?;
    let change = async {
        match direction {
            Migrate::Up { steps } => commands::migrate::shown(db.migrate_up(steps)).await,
            Migrate::Down { steps } => commands::migrate::shown(db.migrate_down(steps)).await,
            Migrate::Status => Ok(()),
        }
    };
    let mut signals = Signals::listen();
    tokio::select! {
        changed = change => changed.map_err(StartError::Migration)?,
        // The transaction of the running migration is rolled back.
        () = signals.next() => return Err(StartError::Unfinished),
    }
    let after = db.migrations().await.map_err(StartError::Schema)?;
    let line = |((name, is_applied), (_, was_applied)): (_, (_, bool))| {
        let state = if is_applied { "applied" } else { "pending" };
        let since = if is_applied == was_applied {
            ""
        } else {
            ", just now"
        };
        format!("{state} {name}{since}\n")
    };
    print(after.into_iter().zip(before).map(line).collect::<String>())
}

/// Shutdown signals: SIGINT and SIGTERM, or Ctrl-C.
struct Signals {
    #[cfg(unix)]
    kinds: [Option<Signal>; 2],
}

impl Signals {
    /// Registers the handlers. Signals are caught from now on.
    fn listen() -> Self {
        #[cfg(unix)]
        let listen = |kind| {
            let signals = signal(kind);
            signals
                .inspect_err(|error| tracing::warn!(%error, "cannot listen for signals"))
                .ok()
        };
        Self {
            #[cfg(unix)]
            kinds: [SignalKind::interrupt(), SignalKind::terminate()].map(listen),
        }
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    async fn next(&mut self) {
        async fn next(signals: &mut Option<Signal>) {
            match signals {
                Some(signals) => {
                    signals.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        let [interrupt, terminate] = &mut self.kinds;
        tokio::select! {
            () = next(interrupt) => {}
            () = next(terminate) => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
