//! The codes that clients rely on: what each is on every surface. A change here is a change of the
//! API.

use graphql_transport::Code;
use serde_json::json;
use strum::VariantArray;
use titlecast::{api::rest::status, error::ErrorCode};
use titlecast_testing::{Answer, ModelServer, Scene, Server};
use uuid::Uuid;

#[test]
fn every_code_has_its_name_and_its_status() {
    let matrix: String = ErrorCode::VARIANTS
        .iter()
        .map(|code| format!("{:<25} {}\n", code.as_str(), status(*code)))
        .collect();
    insta::assert_snapshot!(matrix, @"
    INVALID_INPUT             422 Unprocessable Entity
    INVALID_JSON              400 Bad Request
    UNKNOWN_FORMAT            400 Bad Request
    INVALID_CURSOR            400 Bad Request
    BLANK_SEARCH              400 Bad Request
    UNSUPPORTED_MEDIA_TYPE    415 Unsupported Media Type
    PAYLOAD_TOO_LARGE         413 Payload Too Large
    REQUEST_TIMEOUT           408 Request Timeout
    METHOD_NOT_ALLOWED        405 Method Not Allowed
    UNAUTHENTICATED           401 Unauthorized
    AUTH_EXPIRED              401 Unauthorized
    FORBIDDEN                 403 Forbidden
    FORBIDDEN_ORIGIN          403 Forbidden
    INVALID_HOST              400 Bad Request
    FORBIDDEN_HOST            421 Misdirected Request
    RATE_LIMITED              429 Too Many Requests
    OVERLOADED                503 Service Unavailable
    NOT_FOUND                 404 Not Found
    IDEMPOTENCY_KEY_REUSED    409 Conflict
    NOT_NEWEST                409 Conflict
    REPLY_RUNNING             409 Conflict
    ID_TAKEN                  409 Conflict
    OFFSET_MISMATCH           409 Conflict
    REPLY_BUSY                409 Conflict
    REPLY_STOPPED             409 Conflict
    REPLY_ENDED               409 Conflict
    MANUAL_TITLE              409 Conflict
    NO_TEXT                   409 Conflict
    LAGGED                    503 Service Unavailable
    MODEL_UNAVAILABLE         502 Bad Gateway
    MODEL_RATE_LIMITED        503 Service Unavailable
    MODEL_MISCONFIGURED       502 Bad Gateway
    CONTEXT_TOO_LONG          422 Unprocessable Entity
    BUDGET_EXCEEDED           429 Too Many Requests
    DATABASE_UNAVAILABLE      503 Service Unavailable
    SHUTTING_DOWN             503 Service Unavailable
    INTERNAL                  500 Internal Server Error
    GRAPHQL_PARSE_FAILED      400 Bad Request
    GRAPHQL_VALIDATION_FAILED 400 Bad Request
    QUERY_TOO_COMPLEX         400 Bad Request
    NOT_ACCEPTABLE            406 Not Acceptable
    PERSISTED_QUERY_NOT_FOUND 400 Bad Request
    PERSISTED_QUERY_REQUIRED  400 Bad Request
    TIMEOUT                   503 Service Unavailable
    ");
}

#[test]
fn the_transports_have_no_code_of_their_own() {
    for code in Code::VARIANTS {
        assert!(code.as_str().parse::<ErrorCode>().is_ok(), "{code:?}");
    }
}

#[test]
fn every_code_is_read_back_from_its_name() {
    for code in ErrorCode::VARIANTS {
        assert_eq!(code.as_str().parse(), Ok(*code));
    }
}

#[tokio::test]
async fn one_failure_has_one_code_on_every_surface() {
    const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) {
        ... on ReplyEnded { error { code } }
    } }";
    let refusal = || Answer::error(401, "invalid_request_error", None, "No");
    let scene = Scene::replies([refusal(), refusal()]).await;
    let events = scene.turn(json!({ "message": Scene::MESSAGE })).await;
    let terminal = events.last().unwrap();
    assert_eq!(terminal["payload"]["code"], "MODEL_MISCONFIGURED");

    let id = &terminal["conversation_id"];
    let mut socket = scene.server.socket().await;
    let reply = socket.subscribe(REPLY, json!({ "id": id })).await;
    socket.next(&reply).await.unwrap();
    let ended = socket.next(&reply).await.unwrap();
    let code = &ended["data"]["reply"]["error"]["code"];
    assert_eq!(code, "MODEL_MISCONFIGURED");

    let body = json!({ "message": Scene::MESSAGE });
    let (status, answer) = scene.server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(
        (status, &answer["code"]),
        (502, &json!("MODEL_MISCONFIGURED"))
    );
    scene.server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_has_one_code_on_rest_and_graphql() {
    const RENAME: &str = "mutation ($id: ID!) {
        renameConversation(input: { id: $id, displayName: \"Kyoto\" }) { conversation { id } }
    }";
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = Uuid::now_v7();
    let (status, answer) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!((status, &answer["code"]), (404, &json!("NOT_FOUND")));
    let answer = server.graphql(RENAME, json!({ "id": id })).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND");
    server.stop().await;
}
