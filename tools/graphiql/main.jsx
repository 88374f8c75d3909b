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

// Beside this page: the server may have a base path, and a proxy may add a prefix.
const url = location.origin + location.pathname.replace(/\/graphiql.*/, '/graphql');

const request = createGraphiQLFetcher({
  url,
  wsClient: createClient({
    url: url.replace('http', 'ws'),
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
