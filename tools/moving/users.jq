# Gives conversations to the users that tokens name: `users.json` is an object from the other system's user ids to those.
#
#     jq -c --slurpfile users users.json -f users.jq lines.jsonl
#
# A missing user is an error: conversations must not be assigned to another user.
.user = ($users[0][.user | tostring] // error("users.json lacks the user of conversation \(.id)"))
