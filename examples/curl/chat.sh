#!/usr/bin/env bash
# curl, and jq to read the answers: sends a message and watches it, lists and renames, and follows a reply over GraphQL.
set -euo pipefail

url="${TITLECAST_URL:-http://127.0.0.1:8080}"
ask() {
    curl --silent --show-error --fail-with-body --no-buffer --max-time 60 --header 'Content-Type: application/json' \
        ${TITLECAST_TOKEN:+--header "Authorization: Bearer $TITLECAST_TOKEN"} "$@"
}
# What a line of a stream tells; other lines are for the protocol, or say that the connection lives.
event='select(startswith("data: {"))[6:] | fromjson'
fail() { echo "$*" >&2 && exit 1; }
seen="$(mktemp)"
trap 'rm -f "$seen"' EXIT

echo "== Send a message: its title comes while the reply is written"
ask "$url/api/v1/chat/stream" --data '{"message": "How do I prune an apple tree?"}' | tee "$seen" |
    jq -Rrj --unbuffered "$event"' | if .kind == "lifecycle" then "[\(.display_name)] " else .text_delta // "" end'
last="$(jq -Rn "last(inputs | $event)" "$seen")"
jq -e '.raw_type == "response.completed" and .display_name' <<<"$last" >/dev/null || fail "no title, or no whole reply: $last"
id="$(jq -r .conversation_id <<<"$last")"

echo && echo "== List, newest first"
ask "$url/api/v1/conversations?limit=3" | jq -r '.items[] | "\(.conversation_id)  \(.display_name // .topic_hint)"'

echo "== Rename: no model replaces what a person chose"
ask --request PATCH "$url/api/v1/conversations/$id/title" --data '{"display_name": "My apple tree"}' |
    jq -r .display_name

echo "== GraphQL: a second message"
query='mutation($id: ID!) { sendMessage(input: { conversationId: $id, text: "And a pear tree?" }) { replyId } }'
ask "$url/graphql" --data "$(jq -n --arg query "$query" --arg id "$id" '{ $query, variables: { $id } }')"

echo && echo "== GraphQL over server-sent events: the reply to it"
query='subscription($id: ID!) { reply(conversationId: $id) {
    ... on ReplySoFar { text } ... on ReplyDelta { text } ... on ReplyEnded { outcome }
} }'
ask "$url/graphql" --header 'Accept: text/event-stream' \
    --data "$(jq -n --arg query "$query" --arg id "$id" '{ $query, variables: { $id } }')" | tee "$seen" |
    jq -Rrj --unbuffered "$event"' | .data.reply | .text // "\n\(.outcome)\n"'
jq -Rne "last(inputs | $event).data.reply.outcome == \"COMPLETED\"" "$seen" >/dev/null || fail "no whole reply"
