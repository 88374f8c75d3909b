import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './page.css';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createClient } from 'graphql-ws';
import { createRoot } from 'react-dom/client';

import { EXAMPLES } from './examples.js';

// A browser cannot send headers with a WebSocket: they go into the payload of connection_init.
let headers = {};

const request = createGraphiQLFetcher({
  url: '/graphql',
  wsClient: createClient({
    url: `${location.protocol.replace('http', 'ws')}//${location.host}/graphql`,
    connectionParams: () => headers,
  }),
});

function fetcher(params, options) {
  headers = options?.headers ?? {};
  return request(params, options);
}

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={fetcher}
    defaultTabs={EXAMPLES}
    defaultEditorToolsVisibility
    shouldPersistHeaders={false} // they may hold a key
  />,
);
