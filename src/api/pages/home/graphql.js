// GraphQL over one WebSocket (graphql-transport-ws), which reconnects by itself.

const STABLE_MS = 10_000; // a connection that lasted so long resets the delay of reconnects
const SILENCE_MS = 20_000; // without a frame for so long the connection is tested
const PONG_MS = 5000;

let token = ''; // never stored
let socket;
let operations = new Map(); // callbacks of each operation, by id
let operation = 0;
let isConnected = false;
let connectedAt = 0;
let heardAt = 0;
let attempts = 0;
let reconnect = () => {}; // ends the delay before the next attempt
let whenConnected = Promise.withResolvers();

function sendFrame(message) {
	const text = JSON.stringify(message);
	if (!/^p[io]ng$/.test(message.type)) showFrame('graphql', '↑', text);
	socket.send(text);
}

// Subscribes to an operation's results; `onEnd` receives the error, if any. Returns what ends it.
function run(query, variables, onNext, onEnd) {
	if (!isConnected) {
		onEnd(new Error('Not connected'));
		return () => {};
	}
	const id = String(++operation);
	operations.set(id, { onNext, onEnd });
	sendFrame({ id, type: 'subscribe', payload: { query, variables } });
	return () => operations.delete(id) && isConnected && sendFrame({ id, type: 'complete' });
}

const errorOf = ([{ message, extensions }]) => Object.assign(new Error(`${message} (${extensions?.code})`), { code: extensions?.code });

const ask = (query, variables) => new Promise((resolve, reject) =>
	run(query, variables, ({ data, errors }) => errors ? reject(errorOf(errors)) : resolve(data), (error) => error && reject(error)));

function showState(is, text) {
	page.state.dataset.is = is;
	if (page.state.value !== text) page.state.value = text;
}

function connect() {
	const mine = socket = new WebSocket(at('graphql').href.replace('http', 'ws'), 'graphql-transport-ws');
	mine.onopen = () => sendFrame({ type: 'connection_init', payload: token ? { authorization: `Bearer ${token}` } : undefined });
	mine.onmessage = ({ data }) => {
		heardAt = performance.now();
		const { id, type, payload } = JSON.parse(data);
		const { id: of, displayName } = payload?.data?.conversationUpdated ?? {};
		if (!/^p[io]ng$/.test(type)) showFrame('graphql', '↓', data, isNewTitle('graphql', of, displayName) ? 'title' : '');
		const { onNext, onEnd } = operations.get(id) ?? {};
		if (type === 'connection_ack') begin();
		if (type === 'ping') sendFrame({ type: 'pong', payload });
		if (type === 'next') onNext?.(payload);
		if (/error|complete/.test(type)) {
			operations.delete(id);
			onEnd?.(type === 'error' && errorOf(payload));
		}
	};
	mine.onclose = ({ code, reason }) => lose(mine, code, reason);
}

// Reconnects. A socket whose peer has vanished closes only after minutes, so this does not wait for its end.
async function lose(mine, code, reason) {
	if (mine !== socket) return;
	socket = undefined;
	mine.close();
	if (isConnected) whenConnected = Promise.withResolvers();
	if (isConnected && performance.now() - connectedAt > STABLE_MS) attempts = 0;
	isConnected = false;
	showFrame('graphql', '×', `${code} ${reason}`);
	const ended = [...operations.values()];
	operations = new Map();
	for (const { onEnd } of ended) onEnd(new Error('The connection was lost'));
	if (code === 4401 || code === 4403) return askForToken();
	showState('off', `Disconnected (${code} ${reason || 'no answer'}); reconnecting`);
	const { promise, resolve } = Promise.withResolvers();
	reconnect = resolve;
	await Promise.race([promise, seconds(Math.min(10, 2 ** attempts++ / 4) * (0.5 + Math.random() / 2))]);
	connect();
}

// Tests a silent connection: after a sleep or a change of networks no close arrives.
async function probe() {
	if (!isConnected) return reconnect();
	const mine = socket;
	const sentAt = performance.now();
	sendFrame({ type: 'ping' });
	await seconds(PONG_MS / 1000);
	if (heardAt < sentAt) lose(mine, 'no pong', '');
}

ononline = probe;
onpageshow = ({ persisted }) => {
	if (persisted) probe();
};
document.addEventListener('visibilitychange', () => document.hidden || probe());
setInterval(() => isConnected && performance.now() - heardAt > SILENCE_MS && probe(), SILENCE_MS);

// Subscribes before it reads, so that no change is missed.
function begin() {
	isConnected = true;
	connectedAt = performance.now();
	showState('on', 'Connected');
	whenConnected.resolve();
	watchList();
	readList();
}

function askForToken() {
	showState('off', 'A valid token is required');
	page.signing.hidden = false;
	page.token.focus();
}

page.signing.onsubmit = (event) => {
	event.preventDefault();
	token = page.token.value.trim();
	page.token.value = '';
	page.signing.hidden = true;
	if (socket) lose(socket, 'new token', '');
	else connect();
	show(current);
};

// Requests the HTTP routes. A server that cannot be reached is a TypeError of `fetch`.
async function request(path, options = {}) {
	const response = await fetch(at(path), {
		...options, headers: { ...options.headers, ...token && { authorization: `Bearer ${token}` } },
	});
	if (response.ok) return response;
	if (response.status === 401) askForToken();
	// Errors of a proxy have neither.
	const { message = response.statusText, code = response.status } = await response.json().catch(() => ({}));
	throw Object.assign(new Error(`${message} (${code})`), { code });
}
