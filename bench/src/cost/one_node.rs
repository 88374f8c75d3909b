//! One node whose only subscribers are the people who talk: the cost of a title, the cost of a message, and the space
//! used in the database.

use serde_json::Value;

use super::{
    Arguments, Case, Cost, Run, Watch, command,
    sizes::{sizes, written},
    words::Talker,
};
use crate::{
    Result,
    machine::Cores,
    running::Running,
    stream::model::Model,
    turn::database::{Database, Kind},
    usage::peak_memory,
};

pub async fn run(
    arguments: &Arguments,
    cores: Cores,
    kind: Kind,
    database: &Database,
) -> Result<Run> {
    let mut model = Model::start(arguments.pace(), Talker)?;
    let url = format!("http://{}/v1", model.address);
    let node = Running::start("titlecast", Some(cores), |port, _| {
        let program = &arguments.titlecast;
        Ok(command::serve(program, port, &database.url, &url))
    })?;
    let mut people = super::people(arguments, arguments.people, node.address).await?;
    let mut reader = database.reader().await?;
    let (nodes, short, long) = ([node.pid], arguments.short, arguments.long);

    let watch = Watch::start(&nodes)?;
    // The conversations that are measured in the database come first, so that they do not reuse freed space.
    let (sizes_before, written_before) = (sizes(&mut reader).await?, written(&mut reader).await?);
    let first = Cost::of(&nodes, &mut people, arguments.begin(true, long)).await?;
    let mut later = Vec::new();
    for _ in 1..arguments.messages {
        later.push(Cost::of(&nodes, &mut people, arguments.go_on()).await?);
    }
    let (written_after, sizes_after) = (written(&mut reader).await?, sizes(&mut reader).await?);
    let most = peak_memory(node.pid)?;
    let untitled = Cost::of(&nodes, &mut people, arguments.begin(false, short)).await?;
    let titled = Cost::of(&nodes, &mut people, arguments.begin(true, short)).await?;
    let mut run = watch.finish(Case::OneNode(kind))?;
    model.check()?;

    let mut note = |what: &str, value: f64| run.figures.push((what.to_owned(), value));
    let mean = |of: &dyn Fn(&Cost) -> f64| later.iter().map(of).sum::<f64>() / later.len() as f64;
    let node = |cost: &Cost| cost.each(cost.nodes[0]);
    let token = (node(&first) - node(&titled)) / (long - short) as f64;
    note("server, µs: a title", node(&titled) - node(&untitled));
    note("server, µs: a token of a streamed reply", token);
    note(
        "server, µs: a first message, its title, its reply",
        node(&first),
    );
    note("server, µs: a later message, its reply", mean(&node));
    if kind == Kind::Postgres {
        let database = |cost: &Cost| cost.each(cost.database);
        note(
            "PostgreSQL, µs: a title",
            database(&titled) - database(&untitled),
        );
        note(
            "PostgreSQL, µs: a first message, its title, its reply",
            database(&first),
        );
        note(
            "PostgreSQL, µs: a later message, its reply",
            mean(&database),
        );
    }
    note("server, MiB: at most", most as f64 / 1024.0 / 1024.0);
    let conversations = first.said.replies as f64;
    let mut all = 0.0;
    for (table, size) in &sizes_after {
        let before = sizes_before.get(table).copied().unwrap_or_default();
        let rows = (size.rows - before.rows) as f64 / conversations;
        let indexes = (size.indexes - before.indexes) as f64 / conversations;
        all += rows + indexes;
        // The table always has a single row.
        if table != "agent_cursor_key" {
            note(&format!("database, bytes a conversation: {table}"), rows);
            note(
                &format!("database, bytes a conversation: {table}, indexes"),
                indexes,
            );
        }
    }
    note("database, bytes a conversation: all", all);
    if kind == Kind::Postgres {
        let log = (written_after - written_before) as f64;
        note(
            "database, bytes a conversation: write-ahead log",
            log / conversations,
        );
    }
    note(
        "network, bytes: a streamed reply",
        first.each(first.said.received as f64),
    );
    note(
        "network, pieces of a streamed token",
        first.said.deltas as f64 / first.said.tokens as f64,
    );
    let prompt = |cost: &Cost| cost.each(cost.said.prompt_tokens as f64);
    note("model, tokens: prompt of a first reply", prompt(&first));
    note("model, tokens: prompt of a later reply", mean(&prompt));
    let [titles, asked, answered] = titles(arguments, &database.url)?;
    // Those for the short replies and those for the long ones.
    if titles != 2.0 * conversations {
        return Err(format!(
            "{titles} calls have brought titles, not two for each of {conversations}"
        )
        .into());
    }
    note("model, tokens: prompt of a title", asked / titles);
    note("model, tokens: answer of a title", answered / titles);
    Ok(run)
}

/// The number of calls that returned a title, and their prompt and completion tokens, from `titlecast stats`.
fn titles(arguments: &Arguments, database_url: &str) -> Result<[f64; 3]> {
    let output = command::with_keys(&arguments.titlecast)
        .args(["stats", "--json", "--database-url", database_url])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let stats: Value = serde_json::from_slice(&output.stdout)?;
    let calls = stats["calls"].as_array().ok_or("no calls")?;
    let titles = calls.iter().find(|row| row["outcome"] == "title");
    let titles = titles.filter(|_| calls.len() == 1);
    let titles = titles.ok_or_else(|| format!("not only titles: {stats}"))?;
    let number = |name: &str| titles[name].as_f64().ok_or_else(|| format!("no {name}"));
    Ok([
        number("calls")?,
        number("prompt_tokens")?,
        number("completion_tokens")?,
    ])
}
