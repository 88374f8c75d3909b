// Example operations of GraphiQL, embedded or from a CDN. The explorer (src/api/pages/explorer.html) has the same ones;
// the browser test compares them.

const example = (query, variables) => ({
  query,
  variables: variables && JSON.stringify(variables, null, 2),
});

export const EXAMPLES = [
  // GraphiQL drops the variables of the first tab, so it has none.
  example(`query Conversations {
  conversations(first: 10) { nodes { id title } }
}`),
  example(
    `mutation SendMessage($text: String!) {
  sendMessage(input: {text: $text}) {
    conversation { id title titleStatus }
    replyId
  }
}`,
    { text: 'How do I repair a bicycle tyre?' },
  ),
  example(`subscription WatchAll {
  conversationUpdated { id title titleStatus revision }
}`),
  example(
    `subscription WatchReply($id: ID!) {
  reply(conversationId: $id) {
    __typename
    ... on ReplySoFar { text }
    ... on ReplyDelta { text }
    ... on ReplyEnded { outcome text }
  }
}`,
    { id: '' },
  ),
  example(
    `mutation Rename($id: ID!, $title: String!) {
  renameConversation(input: {id: $id, displayName: $title}) {
    conversation { id title titleSource }
  }
}`,
    { id: '', title: 'Bicycle tyres' },
  ),
  example(
    `query Search($words: String!) {
  searchConversations(query: $words) {
    nodes { snippet conversation { id title } }
  }
}`,
    { words: 'bicycle' },
  ),
];
