# Gives conversations to the users that tokens name: `users.json` is an object from the other system's user ids to those.
#
#     jq -c --slurpfile users users.json -f users.jq lines.jsonl
#
# A user that is missing there ends it: nobody's conversations may become somebody else's.
.user = ($users[0][.user | tostring] // error("users.json lacks the user of conversation \(.id)"))
