//! Parses the arguments, starts the log, runs one command. No logic lives here.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use titlecast::{
    api,
    app::{self, App, StartError},
    auth::{self, Wish},
    commands,
    config::{BackfillArguments, Cli, Command, Migrate, Settings, StatsArguments, TokenArguments},
    db::{Database, Scope},
    panics, telemetry,
    titles::backfill::Backfill,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    // Tests hold a real process where FAILPOINTS says.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Serve);
    // What these two have to say is on standard output.
    let quiet = matches!(command, Command::Backfill(_) | Command::Stats(_));
    let usual = if quiet { "warn" } else { "info" };
    // The others are over before there is anything to trace.
    let is_traced = matches!(command, Command::Serve | Command::Backfill(_));
    let collector = cli.settings.otlp_endpoint.as_deref();
    let started = telemetry::start(
        cli.settings.log_format,
        cli.settings.log.as_deref().unwrap_or(usual),
        collector.filter(|url| is_traced && !url.is_empty()),
    );
    let telemetry = match started {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("titlecast: {error}");
            return ExitCode::from(2);
        }
    };
    panics::log_without_text();
    let result = match command {
        Command::Serve => serve(cli.settings).await,
        Command::Migrate { direction } => migrate(&cli.settings, direction).await,
        Command::Backfill(arguments) => backfill(cli.settings, &arguments).await,
        Command::Stats(arguments) => stats(&cli.settings, arguments).await,
        Command::Token(arguments) => token(&cli.settings, arguments),
        Command::Schema => {
            print!("{}", api::graphql::sdl());
            Ok(())
        }
    };
    telemetry.stop().await;
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titlecast: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let mut stop = Box::pin(stop_signal());
    let (address, metrics_address) = (settings.listen, settings.metrics_listen);
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
        () = &mut stop => return Ok(()),
    };
    let (listener, address) = listen(address, app::LISTEN).await?;
    let (metrics, metrics_address) = listen(metrics_address, app::METRICS_LISTEN).await?;
    tracing::info!(%metrics_address, "metrics");
    tracing::info!(%address, database = app.database().kind(), "listening");
    let stopping = CancellationToken::new();
    let serve = async {
        app.serve(app.access(), listener, stop).await;
        // Until the last reply has ended, there is something to watch.
        stopping.cancel();
    };
    let serve_metrics = app.serve_metrics(metrics, stopping.clone().cancelled_owned());
    tokio::join!(serve, serve_metrics);
    app.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn backfill(settings: Settings, arguments: &BackfillArguments) -> Result<(), StartError> {
    let (db, titles) = app::titles(&settings).await?;
    let backfill = Backfill {
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
        let mut run = std::pin::pin!(run);
        let is_done = tokio::select! {
            is_done = &mut run => is_done,
            () = stop_signal() => {
                interrupt.cancel();
                run.await
            }
        };
        if !is_done.map_err(failed)? {
            return Err(StartError::Unfinished);
        }
    }
    db.close().await.map_err(failed)
}

async fn stats(settings: &Settings, arguments: StatsArguments) -> Result<(), StartError> {
    let db = app::database(settings).await?;
    let scope = Scope {
        tenant: arguments.tenant,
        since: arguments.since,
    };
    commands::stats::run(&db, &scope, arguments.json)
        .await
        .map_err(StartError::Command)
}

fn token(settings: &Settings, arguments: TokenArguments) -> Result<(), StartError> {
    let wish = Wish {
        tenant: arguments.tenant,
        user: arguments.user,
        scopes: arguments.scopes,
        lifetime: arguments.expires,
    };
    println!("{}", auth::mint(&settings.jwt.settings(), &wish)?);
    Ok(())
}

/// A listener, and the address that it got: port 0 is one that the system chooses.
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
    let db = Database::connect(&settings.database_url, 1)
        .await
        .map_err(StartError::Database)?;
    match direction {
        Migrate::Up { steps } => db.migrate_up(steps).await.map_err(StartError::Migration)?,
        Migrate::Down { steps } => db
            .migrate_down(steps)
            .await
            .map_err(StartError::Migration)?,
        Migrate::Status => {}
    }
    for (name, applied) in db.migrations().await.map_err(StartError::Database)? {
        println!("{} {name}", if applied { "applied" } else { "pending" });
    }
    Ok(())
}

/// Ready at the first SIGINT or SIGTERM from now on, awaited or not.
#[cfg(unix)]
fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    let listen = |kind| {
        let signals = signal(kind);
        signals
            .inspect_err(|error| tracing::warn!(%error, "cannot listen for signals"))
            .ok()
    };
    let mut interrupt = listen(SignalKind::interrupt());
    let mut terminate = listen(SignalKind::terminate());
    async fn next(signals: &mut Option<Signal>) {
        match signals {
            Some(signals) => {
                signals.recv().await;
            }
            None => std::future::pending().await,
        }
    }
    async move {
        tokio::select! {
            () = next(&mut interrupt) => {}
            () = next(&mut terminate) => {}
        }
    }
}

/// Ready at the first Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
