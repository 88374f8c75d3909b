// What main.ts asks, for Relay's compiler. With its Babel plugin each would stand where it is used.
import { graphql } from "relay-runtime";
graphql`mutation chatSendMutation($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }`;
graphql`subscription chatTitleSubscription($id: ID!) { conversationUpdated(id: $id) { title titleStatus } }`;
graphql`
  subscription chatReplySubscription($id: ID!, $after: String) {
    reply(conversationId: $id, after: $after) {
      ... on ReplySoFar { recovered text cursor }
      ... on ReplyDelta { text cursor }
      ... on ReplyEnded { outcome text }
    }
  }
`;
