# Open WebUI's export of chats as lines for `titlecast import`:
#
#     jq -c -f open-webui.jq chat-export.json
#
# For the standard format that Open WebUI's documentation gives under "Import & Export": an array of chats, the messages of
# each a tree of which `history.currentId` names the last one that is shown. That branch is taken.

# Unix time, in seconds or, as some versions wrote it, in milliseconds.
def time: if . == null then null else (if . > 1e11 then . / 1000 else . end) | floor | todate end;

# A text, or parts of one. Later versions keep what a model wrote in `output`. What it thought is no part of its reply.
def text:
  [.content | if type == "array" then .[].text? else . end // empty] | join("\n");
def said:
  (text | select(. != ""))
  // ([.output[]? | select(.type == "message") | .content[]?.text? // empty] | join("\n"))
  | gsub("<details type=\"reasoning\"[^>]*>[\\s\\S]*?</details>\\s*"; "");

.[]
| .chat.history as $history
| ($history.messages // {}) as $all
| select($all != {})
| ([$history.currentId, ([$all[]] | max_by(.timestamp // 0).id)] | map(strings | select($all[.] != null)) | first) as $last
| {
    id,
    user: .user_id,
    title: (.title // .chat.title | if . == "New Chat" then null else .[:128] end),
    created_at: (.created_at | time),
    messages: [
      [limit($all | length; $last | recurse($all[.].parentId; . != null and $all[.] != null))]
      | reverse[]
      | $all[.]
      | select(.role == "user" or .role == "assistant")
      | { role, content: said, created_at: (.timestamp | time) }
      | select(.content | test("\\S"))
    ]
  }
| select(.messages != [])
