#!/usr/bin/env bash
# curl alone: a message is recorded, and a model's stream goes to the terminal and to Titlecast, which names the conversation.
# MODEL_URL is any server of Chat Completions. `jq` makes and reads JSON.
set -euo pipefail

url="${TITLECAST_URL:-http://127.0.0.1:8080}"
ask() {
    curl --silent --show-error --fail-with-body --no-buffer --max-time 60 \
        ${TITLECAST_TOKEN:+--header "Authorization: Bearer $TITLECAST_TOKEN"} "$@"
}
json='Content-Type: application/json'
thread="$url/api/v1/conversations/example-$RANDOM$RANDOM"
question="How do I prune an apple tree?"

echo "== Record the person's message: its title starts"
jq -n --arg content "$question" '{ role: "user", $content }' | ask "$thread/messages" --header "$json" --data @- | jq -c .

echo "== Ask a model, and tee its stream into Titlecast as it comes"
jq -n --arg model "${MODEL:-scripted}" --arg content "$question" \
    '{ $model, stream: true, messages: [{ role: "user", $content }] }' |
    ask "${MODEL_URL:-http://127.0.0.1:11434/v1}/chat/completions" --header "$json" --data @- |
    tee /dev/stderr |
    ask "$thread/replies" --request POST --header 'Content-Type: text/event-stream' --upload-file - | jq -c .

echo "== What every client sees"
for _ in $(seq 100); do
    seen="$(ask "$thread" | jq '{ display_name, messages: [.messages[] | { role, content }] }')"
    jq -e .display_name <<<"$seen" >/dev/null && break
    sleep 0.1
done
echo "$seen"
jq -e '.display_name and .messages[1].content' <<<"$seen" >/dev/null
