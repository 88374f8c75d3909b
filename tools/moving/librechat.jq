# LibreChat's collections `conversations` and `messages`, each as mongoexport writes it, as lines for `titlecast import`:
#
#     jq -cn --slurpfile conversations conversations.json -f librechat.jq messages.json
#
# For the schemas that LibreChat's repository has in packages/data-schemas. A conversation is known by its user and its id:
# two users may have the same id. Messages are a tree by `parentMessageId`, and which branch is shown is known to the browser
# alone: the one with the newest message is taken. What cannot be used is named on standard error and left out.

# `debug` writes a line in every version of jq.
def skip(why): "librechat.jq skips \(why)" | debug | empty;

# An id as text, also {"$oid": …}; null where there is none.
def key: if type == "object" then .["$oid"] else . end | if type == "string" and . != "" then . else null end;

# A time as the import reads it: {"$date": …} around a text, a number of milliseconds, or {"$numberLong": …}; null where it
# is none.
def date:
  if type == "object" then (if has("$date") then .["$date"] else . end) else . end
  | if type == "object" then (.["$numberLong"]? | tonumber? // null) else . end
  | if type == "number" then (try (. / 1000 | floor | todate) catch null)
    elif type == "string" and test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})$")
      then sub("(?<hours>[+-][0-9]{2})(?<minutes>[0-9]{2})$"; "\(.hours):\(.minutes)")
    else null end;

# A text, or parts: texts among thoughts and calls of tools.
def said:
  ([.content | arrays[] | objects | select(.type == "text") | .text | if type == "object" then .value else . end | strings]
    | join("\n\n") | select(test("\\S")))
  // (.text | strings) // "";

# All messages, by user and conversation.
(reduce (inputs | objects) as $message ({};
  ($message | { user: (.user | key), conversation: (.conversationId | key), id: (.messageId | key) }) as $keys
  | if ($keys | .user and .conversation and .id) then
      .[[$keys.user, $keys.conversation] | tojson] += [$message | .messageId |= key | .parentMessageId |= key]
    else
      skip("message \($keys.id // "without an id"): user, conversationId or messageId is missing"), .
    end
)) as $messages
# Ids that several users have: the import wants one for each conversation.
| ([$conversations[] | objects | [.conversationId, .user] | map(key)] | unique | group_by(.[0])
    | map(select(length > 1) | { key: (.[0][0] // ""), value: true }) | from_entries) as $shared
| $conversations[]
| objects
| (.conversationId | key) as $id
| (.user | key) as $user
| if $id == null or $user == null then skip("conversation \($id // "without an id"): user or conversationId is missing") else . end
# Temporary ones are about to be deleted.
| select(.isTemporary != true and .expiredAt == null)
| ($messages[[$user, $id] | tojson] // []) as $own
| select($own != [])
| ($own | INDEX(.messageId)) as $all
# Of messages with the same time, the last one is one without replies.
| ([$own[] | .parentMessageId | strings | { key: ., value: true }] | from_entries) as $answered
| ($own | max_by([(.createdAt | date // ""), ($answered[.messageId] | not)]) | .messageId) as $last
| {
    id: (if $shared[$id] then "\($user)/\($id)" else $id end),
    user: $user,
    title: (.title | strings // null | if . == "New Chat" or . == null then null else .[:128] end),
    created_at: (.createdAt | date),
    messages: [
      [limit($own | length; $last | recurse($all[.].parentMessageId; . != null and $all[.] != null))]
      | reverse[]
      | $all[.]
      | select(.error != true)
      | {
          role: (if .isCreatedByUser == true then "user" else "assistant" end),
          content: said,
          created_at: (.createdAt | date)
        }
      | select(.content | test("\\S"))
    ]
  }
| select(.messages != [])
