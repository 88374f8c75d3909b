# Open WebUI's export of chats as lines for `titlecast import`:
#
#     jq -c -f open-webui.jq chat-export.json
#
# For the standard format that Open WebUI's documentation gives under "Import & Export": an array of chats, the messages of
# each a tree of which `history.currentId` names the last one that is shown. That branch is taken. A chat that cannot be used
# is named on standard error and left out.

# Unix time in seconds, or, as some versions wrote it, in milli-, micro- or nanoseconds; or ISO 8601 with an offset. null for
# null.
def time:
  if . == null then null
  elif type == "number" then
    (if . > 1e17 then . / 1e9 elif . > 1e14 then . / 1e6 elif . > 1e11 then . / 1e3 else . end) | floor | todate
  elif type == "string" and test("^[0-9]+([.][0-9]+)?$") then tonumber | time
  elif type == "string" and test("^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$") then
    sub(" "; "T")
  else error("a \(type) that is no time") end;

# What models and tools write around their calls and thoughts: <details type="tool_calls">, "reasoning", "code_interpreter".
# Such an element may hold others; what is left open runs to the end.
def unmarked:
  gsub("<details\\b[^>]*\\btype\\s*=\\s*[\"']?(reasoning|tool_calls|code_interpreter)\\b(?:(?!</?details\\b)[\\s\\S])*</details>\\s*"; "") as $less
  | if $less == . then gsub("<details\\b[^>]*\\btype\\s*=\\s*[\"']?(reasoning|tool_calls|code_interpreter)\\b[\\s\\S]*$"; "")
    else $less | unmarked end;

# A text, or parts of one. Later versions keep what a model wrote in `output`. What it thought is no part of its reply.
def part: if type == "object" then select(.type | . == null or endswith("text")) | .text else . end | strings;
def text: [.content | if type == "array" then .[] else . end | part] | join("\n");
def replied: text | unmarked | select(test("\\S"));
def output: [.output | arrays[] | objects | select(.type == "message") | .content | arrays[] | part] | join("\n") | unmarked;
# What a person wrote is left as it is.
def said: if .role == "user" then text else replied // output end;

def line:
  (if (.user_id | type) != "string" or .user_id == "" then error("user_id is missing") else . end)
  | (if (.id | type) != "string" or .id == "" then error("id is missing") else . end)
  | .chat.history as $history
  | ($history.messages // {}) as $all
  | (if ($all | type) != "object" then error("chat.history.messages is no object") else . end)
  | [.chat.messages | arrays[] | objects] as $list
  | select($all != {} or $list != [])
  # Times are in seconds, so a reply may have that of its message: the last one is one without replies.
  | ([$all[] | objects | .parentId | strings | { key: ., value: true }] | from_entries) as $answered
  | ([$history.currentId, ([$all[] | objects] | max_by([(.timestamp | time // ""), ($answered[.id // ""] | not)]).id)]
      | map(strings | select($all[.] != null)) | first) as $last
  | {
      id,
      user: .user_id,
      title: ((.title // .chat.title) | strings // null | if . == "New Chat" or . == null then null else .[:128] end),
      created_at: (.created_at | time),
      messages: [
        # Chats of early versions have a list alone.
        (if $all == {} then $list[]
         else
           [limit($all | length; $last | recurse($all[.].parentId; type == "string" and $all[.] != null))]
           | reverse[]
           | $all[.]
         end)
        | select(.role == "user" or .role == "assistant")
        | { role, content: said, created_at: (.timestamp | time) }
        | select(.content | test("\\S"))
      ]
    }
  | select(.messages != []);

to_entries[]
| .key as $place
| .value
| . as $chat
| try line catch (
    # `debug` writes a line in every version of jq.
    "open-webui.jq skips chat \($place) (\([$chat | objects | .id | strings][0] // "without an id")): \(.)" | debug | empty
  )
