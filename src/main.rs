//! Parses the arguments, starts the log, runs one command. No logic lives here.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use titlecast::{
    api,
    app::{self, App, StartError},
    commands,
    config::{BackfillArguments, Cli, Command, Migrate, Settings, StatsArguments},
    conversation::Owner,
    db::{Database, Scope},
    telemetry,
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
    if let Err(error) = telemetry::start(cli.settings.log.as_deref().unwrap_or(usual)) {
        eprintln!("titlecast: --log (TITLECAST_LOG) is malformed: {error}");
        return ExitCode::from(2);
    }
    let result = match command {
        Command::Serve => serve(cli.settings).await,
        Command::Migrate { direction } => migrate(&cli.settings, direction).await,
        Command::Backfill(arguments) => backfill(cli.settings, &arguments).await,
        Command::Stats(arguments) => stats(&cli.settings, arguments).await,
        Command::Schema => {
            print!("{}", api::graphql::sdl());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titlecast: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let (address, metrics_address) = (settings.listen, settings.metrics_listen);
    for address in [address, metrics_address] {
        if !address.ip().is_loopback() && !settings.allow_unauthenticated {
            return Err(StartError::Exposed(address));
        }
    }
    let app = App::build(settings).await?;
    let (listener, address) = listen(address, app::LISTEN).await?;
    let (metrics, metrics_address) = listen(metrics_address, app::METRICS_LISTEN).await?;
    tracing::info!(%metrics_address, "metrics");
    tracing::info!(%address, database = app.database().kind(), "listening");
    let stopping = CancellationToken::new();
    let serve = async {
        let served = app.serve(Owner::local(), listener, stop_signal()).await;
        // Until the last reply has ended, there is something to watch.
        stopping.cancel();
        served
    };
    let serve_metrics = app.serve_metrics(metrics, stopping.clone().cancelled_owned());
    tokio::try_join!(serve, serve_metrics)?;
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

/// Ready at the first SIGINT or SIGTERM.
async fn stop_signal() {
    let terminate = async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => {
                    signal.recv().await;
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot listen for SIGTERM"),
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
