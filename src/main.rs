//! Parses the arguments, starts the log, runs one command. No logic lives here.

use std::process::ExitCode;

use clap::Parser;
use titlecast::{
    api,
    app::{App, StartError},
    config::{Cli, Command, Migrate, Settings},
    conversation::Owner,
    db::Database,
    telemetry,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = telemetry::start(&cli.settings.log) {
        eprintln!("titlecast: --log (TITLECAST_LOG) is malformed: {error}");
        return ExitCode::from(2);
    }
    let result = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(cli.settings).await,
        Command::Migrate { direction } => migrate(&cli.settings, direction).await,
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
    let address = settings.listen;
    if !address.ip().is_loopback() && !settings.allow_unauthenticated {
        return Err(StartError::Exposed(address));
    }
    let app = App::build(settings).await?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|cause| StartError::Listen { address, cause })?;
    // Port 0 is one that the system chooses.
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, database = app.database().kind(), "listening");
    app.serve(Owner::local(), listener, stop_signal()).await?;
    app.close().await;
    tracing::info!("stopped");
    Ok(())
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
