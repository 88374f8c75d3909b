//! Parses the arguments, starts the log, runs one command. No logic lives here.

mod service_manager;
mod signals;

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::CommandFactory;
use titlecast::{
    api,
    app::{self, App, InForce, StartError},
    auth::{self, TokenRequest},
    commands::{self, config_check::PolicyOf, try_titles::Trial},
    config::{
        AuditArguments, BackfillArguments, Cli, Command, ConfigCommand, ConfigErrors,
        EraseArguments, ExportArguments, ImportArguments, Migrate, Plan, PruneArguments, Settings,
        StatsArguments, TokenArguments, TryArguments, WebhooksCommand,
    },
    conversation::Owner,
    db::{ExportScope, Forgotten, StatsFilter},
    panics,
    server::{ListenAddress, Listener},
    telemetry::{self, LogFormat},
    titles::backfill::Backfill,
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;

use self::{
    service_manager::{Inherited, Notifier},
    signals::{Reloads, Signals},
};

/// Shutdown time in addition to the drain times of the settings.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

// Only the binary sets an allocator; the library does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Must run before the runtime starts threads.
    let inherited = Inherited::from_environment();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "titlecast: cannot start the async runtime: {error}"
            );
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(inherited));
    // Do not wait for hanging blocking tasks, such as DNS lookups.
    runtime.shutdown_background();
    code
}

async fn run(inherited: Inherited) -> ExitCode {
    // Tests stop a real process at failpoints set in FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let format = cli.settings.log_format;
    let command = cli.command.unwrap_or(Command::Serve);
    // These commands report on standard output, so they log less.
    let quiet = matches!(
        command,
        Command::Backfill(_)
            | Command::Audit(_)
            | Command::Config { .. }
            | Command::Erase(_)
            | Command::Export(_)
            | Command::Import(_)
            | Command::Prune(_)
            | Command::Stats(_)
            | Command::Try(_)
            | Command::Webhooks { .. }
    );
    let usual = if quiet { "warn" } else { "info" };
    // The other commands have nothing to trace.
    let is_traced = matches!(command, Command::Serve | Command::Backfill(_));
    let collector = cli.settings.collector();
    // These commands use no settings, so an invalid log setting must not stop them.
    let is_logged = !matches!(command, Command::Completions { .. } | Command::Man);
    let start = || {
        telemetry::start(
            cli.settings.log_format,
            cli.settings.log.as_deref().unwrap_or(usual),
            collector.filter(|_| is_traced),
        )
    };
    let telemetry = match is_logged.then(start).transpose() {
        Ok(telemetry) => telemetry,
        Err(error) => return end(Err(error.into()), format),
    };
    if is_logged {
        panics::log_without_text();
        // No warnings in health checks, which run every few seconds.
        if !matches!(command, Command::Health) {
            warn_of_slips(&cli.settings);
        }
    }
    let result = match command {
        Command::Serve => serve(cli.settings, inherited).await,
        Command::Migrate { direction } => migrate(&cli.settings, direction).await,
        Command::Backfill(arguments) => backfill(cli.settings, &arguments).await,
        Command::Try(arguments) => try_titles(&cli.settings, &arguments).await,
        Command::Import(arguments) => import(&cli.settings, &arguments).await,
        Command::Audit(arguments) => audit(&cli.settings, &arguments).await,
        Command::Webhooks { action } => webhooks(&cli.settings, &action).await,
        Command::Erase(arguments) => erase(&cli.settings, arguments).await,
        Command::Prune(arguments) => prune(&cli.settings, &arguments).await,
        Command::Export(arguments) => export(&cli.settings, arguments).await,
        Command::Stats(arguments) => stats(&cli.settings, arguments).await,
        Command::Config {
            action:
                ConfigCommand::Check {
                    live,
                    tenant,
                    agent,
                },
        } => {
            let policy_of = PolicyOf {
                tenant: tenant.as_deref(),
                agent: agent.as_deref(),
            };
            config_check(&cli.settings, live, policy_of).await
        }
        Command::Token(arguments) => token(&cli.settings, arguments),
        Command::Health => {
            let source = cli.settings.limits.client_address;
            commands::health::run(&cli.settings.listen, source)
                .await
                .map_err(StartError::Health)
        }
        Command::Schema => print(api::graphql::sdl()),
        Command::Openapi => print(api::openapi::document()),
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

/// Warns about environment variables whose names are almost those of settings; they have no effect.
fn warn_of_slips(settings: &Settings) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for (variable, meant) in settings.origins.misspelt(names) {
        tracing::warn!(%variable, %meant, "an environment variable has no effect; check its name");
    }
}

/// The exit code. Prints an error as the last line on standard error.
fn end(result: Result<(), StartError>, format: LogFormat) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = telemetry::last_line(format, &error.to_string());
            // If printing fails, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints to standard output. A closed pipe, such as with `head`, is not an error.
fn print(text: impl AsRef<[u8]>) -> Result<(), StartError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(StartError::Output(error)),
        _ => Ok(()),
    }
}

async fn serve(mut settings: Settings, mut inherited: Inherited) -> Result<(), StartError> {
    let notifier = Notifier::new();
    let mut signals = Signals::listen();
    // A service manager may send SIGHUP even if there is no file to reload.
    let mut reloads = Reloads::listen(settings.config_path().is_some() || notifier.is_on());
    let shutdown_timeout = settings.drain_delay + settings.drain + SHUTDOWN_GRACE;
    // Passed sockets replace the addresses in the settings, also for the check whether other hosts can reach them.
    let passed = take(&mut inherited, 0, &mut settings.listen)?;
    let passed_metrics = take(&mut inherited, 1, &mut settings.metrics_listen)?;
    let (address, metrics_address) = (settings.listen.clone(), settings.metrics_listen.clone());
    let (has_pages, base_path) = (settings.pages, settings.base_path.clone());
    app::check_exposure(&settings)?;
    let app = tokio::select! {
        app = App::build(settings) => app?,
        () = signals.next() => return Ok(()),
    };
    let (listener, address) = listen(passed, address, app::LISTEN).await?;
    let (metrics, metrics_address) =
        listen(passed_metrics, metrics_address, app::METRICS_LISTEN).await?;
    tracing::info!(%metrics_address, "serving metrics");
    tracing::info!(%address, database = app.database().kind(), "listening");
    if let (true, ListenAddress::Tcp(address)) = (has_pages, address) {
        let here = commands::health::from_this_machine(address);
        tracing::info!("open http://{here}{base_path} to try it");
    }
    notifier.ready();
    let (stop, stopping) = (CancellationToken::new(), CancellationToken::new());
    let watch_signals = async {
        signals.next().await;
        notifier.stopping();
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
    let reload = async {
        while reloads.next().await {
            notifier.reloading();
            app.reload_apart().await;
            notifier.ready();
        }
        std::future::pending::<()>().await;
    };
    let run = async {
        tokio::select! {
            result = run => result,
            // These two never complete.
            () = reload => Ok(()),
            () = notifier.watch(&app) => Ok(()),
        }
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

async fn try_titles(settings: &Settings, arguments: &TryArguments) -> Result<(), StartError> {
    let plan = Plan::read(settings)?;
    let InForce { agents, titles, .. } = app::configured(&plan)?;
    let find = |name: &str| -> Result<_, String> {
        let model = plan.find_model(name)?;
        let mut providers = agents.providers().iter();
        let provider = providers.find(|provider| provider.name() == model.provider);
        let provider = provider.ok_or("the offline model is always compared")?;
        Ok(provider.model(&model.model))
    };
    let trial = Trial {
        policies: &titles,
        find: &find,
        host: &|model| plan.host_of(model.provider()),
        overrides: Arc::new(settings.title_parameters.clone().unwrap_or_default()),
        deadline: settings.title_deadline,
        concurrency: settings.title_concurrency as usize,
    };
    let is_of_database = arguments.tenant.is_some() || arguments.all_tenants;
    let needs_database = is_of_database && arguments.file.is_none();
    let db = match needs_database {
        true => Some(app::database_as_it_is(settings).await?),
        false => None,
    };
    let interrupt = CancellationToken::new();
    let run = commands::try_titles::run(arguments, &trial, db.as_ref(), &interrupt);
    let is_whole = interruptible(run, &interrupt).await?;
    if let Some(db) = db {
        db.close().await.map_err(StartError::Command)?;
    }
    match is_whole {
        true => Ok(()),
        false => Err(StartError::Unfinished),
    }
}

async fn import(settings: &Settings, arguments: &ImportArguments) -> Result<(), StartError> {
    let policies = Plan::read(settings)?.titles;
    let db = app::database(settings).await?;
    // With tokens there is no local owner.
    let has_tokens = settings.jwt.settings().is_on();
    let owner = (!has_tokens).then(Owner::local);
    let interrupt = CancellationToken::new();
    let run = commands::import::run(&db, arguments, owner, policies, &interrupt);
    if !interruptible(run, &interrupt).await? {
        return Err(StartError::Unfinished);
    }
    db.close().await.map_err(StartError::Command)
}

async fn erase(settings: &Settings, arguments: EraseArguments) -> Result<(), StartError> {
    let audit = Plan::read(settings)?.audit;
    let db = app::database_as_it_is(settings).await?;
    db.audit(audit.is_on);
    let of = Forgotten {
        tenant: arguments.tenant,
        user: arguments.user,
    };
    commands::erase::run(&db, &of, arguments.wait, arguments.dry_run).await?;
    db.close().await.map_err(StartError::Command)
}

async fn prune(settings: &Settings, arguments: &PruneArguments) -> Result<(), StartError> {
    let plan = Plan::read(settings)?;
    let db = app::database_as_it_is(settings).await?;
    let interrupt = CancellationToken::new();
    let run = commands::prune::run(
        &db,
        &plan.retentions,
        &plan.titles,
        arguments.dry_run,
        &interrupt,
    );
    if !interruptible(run, &interrupt)
        .await
        .map_err(StartError::Command)?
    {
        return Err(StartError::Unfinished);
    }
    db.close().await.map_err(StartError::Command)
}

async fn export(settings: &Settings, arguments: ExportArguments) -> Result<(), StartError> {
    let audit = Plan::read(settings)?.audit;
    let db = app::database_as_it_is(settings).await?;
    db.audit(audit.is_on);
    let is_of_one = arguments.tenant.is_some() && arguments.user.is_some();
    let scope = ExportScope {
        tenant: arguments.tenant,
        user: arguments.user,
        since: arguments.since,
        as_guest: is_of_one && !arguments.owned,
    };
    let interrupt = CancellationToken::new();
    let run = commands::export::run(&db, scope, &interrupt);
    if !interruptible(run, &interrupt).await? {
        return Err(StartError::Unfinished);
    }
    db.close().await.map_err(StartError::Command)
}

/// Runs a future to completion; the first signal cancels `interrupt`.
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

async fn audit(settings: &Settings, arguments: &AuditArguments) -> Result<(), StartError> {
    let db = app::database_as_it_is(settings).await?;
    let mut out = std::io::stdout();
    commands::audit::run(&db, arguments, &mut out)
        .await
        .map_err(StartError::Command)?;
    db.close().await.map_err(StartError::Command)
}

async fn webhooks(settings: &Settings, action: &WebhooksCommand) -> Result<(), StartError> {
    let db = app::database_as_it_is(settings).await?;
    let mut out = std::io::stdout();
    commands::webhooks::run(&db, action, &mut out)
        .await
        .map_err(StartError::Command)?;
    db.close().await.map_err(StartError::Command)
}

async fn stats(settings: &Settings, arguments: StatsArguments) -> Result<(), StartError> {
    let db = app::database(settings).await?;
    let scope = StatsFilter {
        tenant: arguments.tenant,
        since: arguments.since,
    };
    let report = commands::stats::report(&db, &scope, arguments.json).await;
    print(report.map_err(StartError::Command)?)
}

/// Prints the effective configuration and, with `live`, the models' answers. If it is invalid, prints all errors, the
/// last one as the reason of the exit.
async fn config_check(
    settings: &Settings,
    live: bool,
    policy_of: PolicyOf<'_>,
) -> Result<(), StartError> {
    let mut errors = app::check(settings).await;
    let plan = Plan::read(settings);
    let in_force = match &plan {
        Ok(plan) => app::configured(plan)
            .map_err(|error| errors.push(error))
            .ok(),
        Err(_) => None,
    };
    let of_file = plan
        .as_ref()
        .err()
        .into_iter()
        .flat_map(ConfigErrors::lines);
    let lines: Vec<String> = of_file
        .chain(errors.iter().map(ToString::to_string))
        .collect();
    match (plan, in_force, lines.len()) {
        (Ok(plan), Some(in_force), 0) => {
            app::check_agent(&plan, policy_of.agent)?;
            print(commands::config_check::report(settings, &plan, policy_of))?;
            match live {
                true => ask_models(settings, &in_force).await,
                false => Ok(()),
            }
        }
        (Err(errors), _, 1) => Err(errors.into()),
        (_, _, 1) => Err(StartError::Checked(Box::new(errors.remove(0)))),
        (_, _, count) => {
            for line in lines {
                eprintln!("{line}");
            }
            Err(StartError::Invalid(count))
        }
    }
}

/// Asks each model for one word and prints the answers.
async fn ask_models(settings: &Settings, in_force: &InForce) -> Result<(), StartError> {
    let overrides = settings.title_parameters.clone().unwrap_or_default();
    let checks =
        commands::config_live::run(&in_force.agents, &in_force.titles, Arc::new(overrides)).await;
    let lines = checks.iter().map(|check| format!("  {check}\n"));
    print(format!("live:\n{}", lines.collect::<String>()))?;
    match checks.iter().filter(|check| !check.passed()).count() {
        0 => Ok(()),
        failed => Err(StartError::Silent {
            failed,
            asked: checks.len(),
        }),
    }
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

/// Takes a socket that the service manager passed. Its address replaces that of the setting.
fn take(
    inherited: &mut Inherited,
    index: usize,
    address: &mut ListenAddress,
) -> Result<Option<Listener>, StartError> {
    let Some(listener) = inherited.take(index).map_err(StartError::Inherited)? else {
        return Ok(None);
    };
    *address = listener.address().map_err(StartError::Inherited)?;
    Ok(Some(listener))
}

/// Binds a listener unless the service manager passed one. Returns its address, with the port that the system chose for
/// port 0.
async fn listen(
    passed: Option<Listener>,
    address: ListenAddress,
    setting: &'static str,
) -> Result<(Listener, ListenAddress), StartError> {
    let listen_error = |cause| StartError::Listen {
        address: address.clone(),
        setting,
        cause,
    };
    let listener = match passed {
        Some(listener) => listener,
        None => Listener::bind(&address).await.map_err(listen_error)?,
    };
    let address = listener.address().map_err(listen_error)?;
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
        // The running migration's transaction is rolled back.
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
