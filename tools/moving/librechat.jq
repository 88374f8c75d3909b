# LibreChat's collections `conversations` and `messages`, each as mongoexport writes it, as lines for `titlecast import`:
#
#     jq -cn --slurpfile conversations conversations.json -f librechat.jq messages.json
#
# For the schemas that LibreChat's repository has in packages/data-schemas. Messages are a tree by `parentMessageId`, and
# which branch is shown is known to the browser alone: the one with the newest message is taken.

def date: if type == "object" then .["$date"] else . end;

# A text, or parts: texts among thoughts and calls of tools.
def said:
  ([.content[]? | select(.type == "text") | .text | if type == "object" then .value else . end] | join("\n\n")
    | select(. != ""))
  // .text // "";

(reduce inputs as $message ({}; .[$message.conversationId] += [$message])) as $messages
| $conversations[]
# Temporary ones are about to be deleted.
| select(.isTemporary != true and .expiredAt == null)
| ($messages[.conversationId] // []) as $own
| select($own != [])
| ($own | INDEX(.messageId)) as $all
| ($own | max_by(.createdAt | date) | .messageId) as $last
| {
    id: .conversationId,
    user,
    title: (.title | if . == "New Chat" then null else .[:128] end),
    created_at: (.createdAt | date),
    messages: [
      [limit($own | length; $last | recurse($all[.].parentMessageId; . != null and $all[.] != null))]
      | reverse[]
      | $all[.]
      | select(.error != true)
      | {
          role: (if .isCreatedByUser then "user" else "assistant" end),
          content: said,
          created_at: (.createdAt | date)
        }
      | select(.content | test("\\S"))
    ]
  }
| select(.messages != [])
