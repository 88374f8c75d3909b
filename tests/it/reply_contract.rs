//! Invariants for every reader of a reply: on the node that writes it, on another node through NATS, and on another
//! node that can only read the rows.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server, Step,
    calls::{
        conversation, conversation_when, delete, send_message, settled_conversation, stop_reply,
    },
    eventually,
    nats::{self, two_nodes_with},
    replies::{REPLY, Reader, being_written, write},
    sse::assert_common_stream,
};

/// Nodes on one database: where a reply is written, and where it is followed.
struct Nodes {
    model: ModelServer,
    writer: Server,
    /// None: on the same node.
    reader: Option<Server>,
}

/// What is written is noted a few times a second.
const SETTINGS: [&str; 2] = ["--reply-lease", "2s"];

impl Nodes {
    async fn one() -> Option<Self> {
        let model = ModelServer::start().await;
        Some(Self {
            writer: Server::start_with(&model, &SETTINGS).await,
            model,
            reader: None,
        })
    }

    async fn by_nats() -> Option<Self> {
        let nats = nats::shared().await?;
        let model = ModelServer::start().await;
        let (writer, reader) = two_nodes_with(&model, &nats, &SETTINGS).await;
        Some(Self {
            model,
            writer,
            reader: Some(reader),
        })
    }

    async fn by_rows() -> Option<Self> {
        let mut nodes = Self::one().await?;
        nodes.reader = Some(nodes.writer.beside(&nodes.model, &SETTINGS).await);
        Some(nodes)
    }

    fn url(&self) -> &str {
        &self.reader.as_ref().unwrap_or(&self.writer).url
    }

    async fn join(&self, id: &str, reply: &Value) -> Reader {
        Reader::join(self.url(), id, reply).await
    }

    async fn resume(&self, id: &str, reply: &Value, cursor: &str) -> Reader {
        Reader::resume(self.url(), id, reply, cursor).await
    }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        contract!(by one: $($name),*);
        contract!(by by_nats: $($name),*);
        contract!(by by_rows: $($name),*);
    };
    (by $way:ident: $($name:ident),*) => {
        mod $way {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(nodes) = super::Nodes::$way().await {
                        super::$name(nodes).await;
                    }
                }
            )*
        }
    };
}

contract!(
    who_joins_late_gets_what_there_is_and_then_the_same_as_everybody,
    who_comes_back_goes_on_where_it_was,
    who_comes_back_behind_the_end_gets_the_rest_and_the_end,
    who_comes_back_to_an_older_reply_goes_on_in_that_one,
    a_place_that_is_in_no_reply_of_the_conversation_is_refused,
    an_offset_outside_the_text_restarts_the_reply,
    a_reply_is_stopped_from_there,
    a_reply_that_breaks_off_fails_with_a_code_and_keeps_its_text,
    a_deleted_conversation_ends_its_reply,
    a_long_text_arrives_whole,
    a_retried_request_goes_on_with_the_same_reply,
);

async fn who_joins_late_gets_what_there_is_and_then_the_same_as_everybody(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut early = nodes.join(&id, &reply).await;
    write(&steps, "First ");
    write(&steps, "we take ");
    early.read_to("First we take ").await;
    let late = nodes.join(&id, &reply).await;
    // The other node knows what one node has sent.
    assert_eq!(late.text, "First we take ");
    write(&steps, "the train");
    early.read_to("First we take the train").await;
    steps.send(Step::Finish).unwrap();
    let ended = early.end().await;
    assert_eq!(late.end().await, ended);
    let expected = json!({
        "__typename": "ReplyEnded", "messageId": reply, "outcome": "COMPLETED",
        "text": "First we take the train", "error": null,
    });
    assert_eq!(ended, expected);
    // The row is stored before anyone hears of the end.
    let now = conversation(nodes.url(), &id).await;
    let message = json!({
        "id": reply, "role": "ASSISTANT", "content": "First we take the train", "status": "COMPLETE"
    });
    assert_eq!(now["messages"]["nodes"][1], message);
}

async fn who_comes_back_goes_on_where_it_was(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    let mut whole = String::new();
    for piece in ["Kyō", "to 京都", " ", "in 🌸", " April"] {
        write(&steps, piece);
        whole += piece;
        reader.read_to(&whole).await;
        // Gone, and back.
        let read = std::mem::take(&mut reader.text);
        reader = nodes.resume(&id, &reply, &reader.cursor).await;
        assert!(reader.recovered);
        assert_eq!(reader.text, "", "it has {read}");
        reader.text = read;
    }
    // What arrives without a reader is buffered.
    let cursor = reader.cursor.clone();
    drop(reader);
    write(&steps, ", or in May");
    let mut on_spot = Reader::join(&nodes.writer.url, &id, &reply).await;
    on_spot.read_to(&format!("{whole}, or in May")).await;
    let mut back = nodes.resume(&id, &reply, &cursor).await;
    assert!(back.recovered);
    back.read_to(", or in May").await;
    steps.send(Step::Finish).unwrap();
    let ended = back.end().await;
    assert_eq!(ended["text"], format!("{whole}, or in May"));
    assert_eq!(on_spot.end().await, ended);
}

async fn who_comes_back_behind_the_end_gets_the_rest_and_the_end(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    let cursor = reader.cursor.clone();
    drop(reader);
    write(&steps, " take the train");
    steps.send(Step::Finish).unwrap();
    conversation_when(nodes.url(), &id, |now| now["messageCount"] == 2).await;
    let back = nodes.resume(&id, &reply, &cursor).await;
    assert!(back.recovered);
    let cursor = back.cursor.clone();
    let ended = back.end().await;
    assert_eq!(ended["text"], "First we take the train");
    assert_eq!(ended["outcome"], "COMPLETED");
    // Once more, with all of it.
    let back = nodes.resume(&id, &reply, &cursor).await;
    assert_eq!((back.recovered, back.text.as_str()), (true, ""));
    assert_eq!(back.end().await, ended);
    // And with the end.
    let behind = format!("{}.end", cursor.split('.').next().unwrap());
    let back = nodes.resume(&id, &reply, &behind).await;
    assert_eq!((back.recovered, back.text.as_str()), (true, ""));
    assert_eq!(back.end().await, ended);
}

async fn who_comes_back_to_an_older_reply_goes_on_in_that_one(nodes: Nodes) {
    let url = &nodes.writer.url;
    let (id, reply, steps) = being_written(&nodes.model, url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    let (answer, later_steps) = Answer::live();
    nodes.model.reply(answer);
    let later = json!({ "conversationId": id, "text": "And to Nara" });
    let later = send_message(url, later).await;
    let newest = nodes.join(&id, &later["replyId"]).await;
    let mut older = nodes.resume(&id, &reply, &reader.cursor).await;
    write(&steps, " take the train");
    older.read_to(" take the train").await;
    for steps in [&steps, &later_steps] {
        steps.send(Step::Finish).unwrap();
    }
    assert_eq!(older.end().await["text"], "First we take the train");
    assert_eq!(newest.end().await["messageId"], later["replyId"]);
}

async fn a_place_that_is_in_no_reply_of_the_conversation_is_refused(nodes: Nodes) {
    let url = &nodes.writer.url;
    let (id, reply, steps) = being_written(&nodes.model, url).await;
    let cursor = nodes.join(&id, &reply).await.cursor;
    let another = settled_conversation(url, json!({ "text": "Bake bread" })).await;
    let mut socket = titlecast_testing::GraphqlSocket::connect(nodes.url()).await;
    let unknown = format!("{}.0", uuid::Uuid::new_v4());
    for (id, cursor) in [
        (&another, cursor.as_str()),
        (&id, unknown.as_str()),
        (&id, "7"),
        (&id, ""),
        (&id, "../../etc/passwd.7"),
    ] {
        let variables = json!({ "id": id, "after": cursor });
        let operation = socket.subscribe(REPLY, variables).await;
        assert_eq!(
            socket.refusal(&operation).await,
            "INVALID_CURSOR",
            "{cursor}"
        );
    }
    steps.send(Step::Finish).unwrap();
}

async fn an_offset_outside_the_text_restarts_the_reply(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "Kyōto");
    reader.read_to("Kyōto").await;
    let message = reader.cursor.split('.').next().unwrap().to_owned();
    let place = |bytes: u64| format!("{message}.{bytes}");
    // In the middle of a character.
    let lost = nodes.resume(&id, &reply, &place(3)).await;
    assert_eq!((lost.recovered, lost.text.as_str()), (false, "Kyōto"));
    // Beyond what there will be. It may still come, so this is known at the end.
    let beyond = place(7);
    let beyond = nodes.resume(&id, &reply, &beyond);
    let writing = async {
        let mut on_spot = Reader::join(&nodes.writer.url, &id, &reply).await;
        steps.send(Step::Finish).unwrap();
        on_spot.read_to("Kyōto").await;
        on_spot.end().await
    };
    let (beyond, ended) = tokio::join!(beyond, writing);
    assert_eq!((beyond.recovered, beyond.text.as_str()), (false, "Kyōto"));
    assert_eq!(beyond.end().await, ended);
    assert_eq!(lost.end().await, ended);
    for bytes in [3, 7, u64::MAX] {
        let lost = nodes.resume(&id, &reply, &place(bytes)).await;
        assert_eq!((lost.recovered, lost.text.as_str()), (false, "Kyōto"));
        assert_eq!(lost.end().await, ended);
    }
}

async fn a_reply_is_stopped_from_there(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    assert!(stop_reply(nodes.url(), &id).await);
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "INCOMPLETE");
    assert_eq!(ended["text"], "First we");
    assert!(!stop_reply(nodes.url(), &id).await, "it has ended");
}

async fn a_reply_that_breaks_off_fails_with_a_code_and_keeps_its_text(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    steps.send(Step::Cut).unwrap();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "FAILED");
    assert_eq!(ended["error"]["code"], "MODEL_UNAVAILABLE");
    assert_eq!(ended["text"], "First we");
}

async fn a_deleted_conversation_ends_its_reply(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let mut reader = nodes.join(&id, &reply).await;
    write(&steps, "A secret");
    reader.read_to("A secret").await;
    delete(nodes.url(), &id).await;
    assert_eq!(reader.end().await["outcome"], "INCOMPLETE");
    // Nothing that was written stays anywhere.
    let rows = titlecast_testing::Rows::of(&nodes.writer.database).await;
    eventually(async || {
        let turns = "SELECT reply_status, run_text FROM agent_turns";
        let row = rows.all(turns, []).await.remove(0);
        let text: Option<String> = row.try_get("", "run_text").unwrap();
        assert_eq!(text, None);
        let status: String = row.try_get("", "reply_status").unwrap();
        (status == "incomplete").then_some(())
    })
    .await;
    assert_eq!(rows.count("agent_messages").await, 0);
}

async fn a_long_text_arrives_whole(nodes: Nodes) {
    let (id, reply, steps) = being_written(&nodes.model, &nodes.writer.url).await;
    let early = nodes.join(&id, &reply).await;
    // Longer than one answer between nodes, and six times as long when it is written as JSON.
    let piece = "\u{1}京🌸 ".repeat(1_000);
    let mut whole = String::new();
    for _ in 0..40 {
        write(&steps, &piece);
        whole += &piece;
    }
    steps.send(Step::Finish).unwrap();
    assert_eq!(early.end().await["text"], whole);
}

async fn a_retried_request_goes_on_with_the_same_reply(nodes: Nodes) {
    let (answer, steps) = Answer::live();
    nodes.model.reply(answer);
    let body = json!({ "message": "Plan a trip to Kyoto", "context": { "auto_title": false } });
    let send = async |url: &str| {
        let request = titlecast_testing::legacy::post(url, "/api/v1/chat/stream", body.clone());
        titlecast_testing::Events::of(request.header("idempotency-key", "one")).await
    };
    let mut first = send(&nodes.writer.url).await;
    write(&steps, "First we");
    while first.next().await.unwrap()["text_delta"] != "First we" {}
    // Its client has lost the connection, and tries again elsewhere.
    drop(first);
    let mut again = send(nodes.url()).await;
    let mut events = vec![again.next().await.unwrap(), again.next().await.unwrap()];
    assert_eq!(events[1]["text_delta"], "First we");
    write(&steps, " take the train");
    steps.send(Step::Finish).unwrap();
    events.extend(again.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal["response_text"], "First we take the train");
    assert_eq!(nodes.model.reply_requests().len(), 1);
}
