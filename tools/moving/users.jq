# Gives conversations to the users that tokens name: `users.json` is an object from the other system's user ids to those.
#
#     jq -c --slurpfile users users.json -f users.jq lines.jsonl
#
# A missing user is an error: conversations must not be assigned to another user. In lines of `titlecast export`, the
# authors of messages are users too, and the id of a conversation with an external id is derived again from its user.
.id as $id
| def ours($what): $users[0][tostring] // error("users.json lacks the \($what) of conversation \($id)");
  .user |= ours("user")
| ((.messages[]?, .versions[]?) | select(.author?) | .author) |= ours("author of a message")
| if .external_id then del(.id) else . end
