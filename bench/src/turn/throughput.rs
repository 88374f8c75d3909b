//! First messages as fast as they are accepted: by Titlecast, whose model answers at once, and by the bare statements.
//!
//! Each connection sends messages one after another, each as soon as the previous one is accepted, which means stored.
//! The clock stops when the last conversation has its reply and its title. There are no subscribers.
//!
//! Most of the time, the bare statements wait for the disk or for another thread. On a busy machine each of these waits
//! also includes waiting for a core, which costs them more than it costs Titlecast. So the ratios of such runs flatter
//! Titlecast and are not valid.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    Arguments,
    bare::Bare,
    database::{Database, Kind},
    meter::Meter,
    service::{Service, send},
};
use crate::{
    Result,
    machine::{Cores, Measured},
    requests::{all, percentile},
    usage::{cpu, own_cpu},
};

/// Messages sent before the measurement starts.
const WARM_UP: u64 = 64;

/// After this time, the service has finished its work after a message, such as recording published revisions.
const AFTERMATH: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub database: Kind,
    /// The number of sending connections.
    pub at_once: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    Bare,
    Titlecast,
}

/// The results of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub case: Case,
    pub who: Who,
    pub messages: u64,
    /// First messages per second.
    pub rate: f64,
    /// The time per message, in milliseconds: the total time divided by the number of messages.
    pub each: f64,
    /// The processor time of the process per message, in microseconds; excludes the database server.
    pub cpu: f64,
    /// The median time until a message is accepted, in milliseconds. Not measured for the bare statements.
    pub accepted: Option<f64>,
    /// The share of its core that the load used, including the model.
    pub load: f64,
    /// The share of one core that other programs used.
    pub others: f64,
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

pub async fn titlecast(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    Service::with(
        arguments,
        cores,
        case.database,
        Duration::ZERO,
        async |service| {
            let (address, pid) = (service.running.address, service.running.pid);
            let requests: Vec<_> = (0..WARM_UP + arguments.messages).map(send).collect();
            let (warm_up, measured) = requests.split_at(WARM_UP as usize);
            let mut reader = service.database.reader().await?;
            all(address, warm_up, case.at_once).await?;
            reader.finished(WARM_UP).await?;
            sleep(AFTERMATH).await;

            let meter = Meter::start(&[pid, std::process::id()])?;
            let (begun, before, own) = (Instant::now(), cpu(pid)?, own_cpu()?);
            let accepted = all(address, measured, case.at_once).await?;
            reader.finished(WARM_UP + arguments.messages).await?;
            let (elapsed, own) = (begun.elapsed(), own_cpu()? - own);
            let others = meter.others()?;
            sleep(AFTERMATH).await;
            let cpu = cpu(pid)? - before;

            service.model.titles(WARM_UP + arguments.messages)?;
            reader.check(WARM_UP + arguments.messages).await?;
            let run = Run::new(
                case,
                Who::Titlecast,
                arguments.messages,
                elapsed,
                cpu,
                others,
            );
            Ok(Run {
                accepted: Some(percentile(&accepted, 0.5).as_secs_f64() * 1e3),
                load: own.as_secs_f64() / elapsed.as_secs_f64(),
                ..run
            })
        },
    )
    .await
}

pub async fn bare(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    let server = arguments.database_url.as_deref();
    let database = Database::create(case.database, server, &arguments.titlecast).await?;
    let run = bare_on(&database, arguments, cores, case).await;
    database.remove().await?;
    run
}

async fn bare_on(
    database: &Database,
    arguments: &Arguments,
    cores: Cores,
    case: Case,
) -> Result<Run> {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["bare", "--database-url", &database.url])
        .args(["--warm-up", &WARM_UP.to_string()])
        .args(["--messages", &arguments.messages.to_string()])
        .args(["--at-once", &case.at_once.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let said = cores.start(|| command.spawn())??.wait_with_output()?;
    if !said.status.success() {
        return Err(format!("the bare statements: {}", said.status).into());
    }
    let Bare {
        elapsed,
        cpu,
        others,
    } = serde_json::from_slice(&said.stdout)?;
    let mut reader = database.reader().await?;
    reader.check(WARM_UP + arguments.messages).await?;
    let messages = arguments.messages;
    Ok(Run::new(case, Who::Bare, messages, elapsed, cpu, others))
}

impl Run {
    fn new(
        case: Case,
        who: Who,
        messages: u64,
        elapsed: Duration,
        cpu: Duration,
        others: f64,
    ) -> Self {
        let count = messages as f64;
        Self {
            case,
            who,
            messages,
            rate: count / elapsed.as_secs_f64(),
            each: elapsed.as_secs_f64() * 1e3 / count,
            cpu: cpu.as_secs_f64() * 1e6 / count,
            accepted: None,
            load: 0.0,
            others,
        }
    }
}
