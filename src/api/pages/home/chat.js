// The conversation: its messages, and its running replies.

const MESSAGES = 'nodes { id role content status outcome error { code message } } pageInfo { hasPreviousPage startCursor }';
const PROMPTS = ['Can you help me plan a trip to Kyoto in April?', 'Why does my sourdough not rise in winter?', 'Explain this error: cannot borrow `list` as mutable'];

let current = ''; // the id of the shown conversation
let shows = 0; // the number of conversations opened so far
let counted; // the number of its messages shown; undefined while they are loaded
let reading; // aborts reading its reply

const complain = ({ message } = { message: '' }) => { page.problem.value = message; };
const goTo = (id) => {
	location.hash = id;
	if (page.side.classList.contains('open')) showSide(false);
};

function showTitle({ title, titleStatus, titleError, archivedAt }) {
	if (page.heading.textContent !== title) page.heading.textContent = title;
	document.title = `${title} · Titlecast`;
	if (archivedAt !== undefined) page.archive.textContent = archivedAt ? 'Unarchive' : 'Archive';
	if (titleStatus === 'PENDING') page.about.textContent = 'Title pending';
	if (/READY|SKIPPED/.test(titleStatus) && !page.about.textContent.startsWith('Title after')) page.about.textContent = '';
	if (!titleError) return;
	const retry = titleError.retryAt ? ` Next try at ${new Date(titleError.retryAt).toLocaleTimeString()}.` : '';
	page.about.textContent = `No title: ${titleError.message}${retry}`;
}

function articleOf(role, text, note) {
	const body = element('p', { dir: 'auto' }, text);
	const article = element('article', { className: role === 'user' ? 'user' : '' }, element('h2', {}, role === 'user' ? 'You' : 'Model'), body);
	if (note) article.append(note);
	if (note && !text) body.remove();
	return article;
}

function addMessage(role, text) {
	const article = articleOf(role, text);
	append(page.chat, () => page.messages.append(article));
	return article;
}

// What stands below a reply that did not end well.
function noteOnReply({ outcome, error, reason }) {
	const text = { STOPPED: 'Stopped', INCOMPLETE: `Incomplete${reason ? `: ${reason}` : ''}`, FAILED: `The reply failed: ${error?.message} (${error?.code})` }[outcome];
	return text && element('div', { className: outcome === 'FAILED' ? 'note bad' : 'note' }, text);
}

// Only the newest reply can be regenerated.
function offerRetry() {
	for (const button of page.messages.querySelectorAll('.note button')) button.remove();
	page.messages.lastElementChild?.querySelector('.note')?.append(element('button', { onclick: writeAnew }, 'Try again'));
}

async function readMessages(id, before) {
	const { conversation } = await ask(
		`query ($id: ID!, $before: String) { conversation(id: $id) { ${FIELDS} activeReplies { replyId } messages(last: 50, before: $before) { ${MESSAGES} } } }`, { id, before });
	if (!conversation || conversation.status === 'DELETED') throw new Error('There is no such conversation (NOT_FOUND)');
	return conversation;
}

// Shows a conversation and its running replies. Of the same conversation the messages stay until the new ones are there.
async function show(id) {
	reading?.abort();
	showReading();
	complain();
	const isOther = id !== current;
	current = id;
	counted = undefined;
	const mine = ++shows;
	page.renaming.hidden = true;
	page.actions.hidden = !id;
	page.welcome.hidden = Boolean(id);
	page.earlier.hidden = true;
	mark(id);
	if (isOther || !id) {
		page.messages.replaceChildren();
		page.about.textContent = '';
		page.archive.textContent = 'Archive';
		forget();
	}
	if (!id) {
		counted = 0;
		return showTitle({ title: 'New conversation' });
	}
	showTitle(conversations.get(id) ?? { title: page.heading.textContent && !isOther ? page.heading.textContent : '…' });
	await whenConnected.promise;
	if (mine !== shows) return;
	try {
		const conversation = await readMessages(id);
		if (mine !== shows) return;
		learn(conversation);
		showTitle(conversations.get(id));
		const { activeReplies, messageCount, messages: { nodes, pageInfo } } = conversation;
		append(page.chat, () => drawMessages(nodes, isOther));
		showEarlier(id, pageInfo);
		counted = messageCount;
		if (activeReplies.length) await watchReplies(activeReplies);
		else page.actions.hidden = false;
		const known = conversations.get(id);
		if (mine === shows && known.messageCount > counted) show(id);
	} catch (error) {
		if (mine === shows && isConnected && error.name !== 'AbortError') complain(error);
		// A lost connection is shown by the state; what it interrupted is shown when there is a new one.
		else if (mine === shows && !isConnected) show(id);
	}
}

function drawMessages(nodes, toEnd) {
	page.messages.replaceChildren(...nodes.map((message) => articleOf(message.role === 'USER' ? 'user' : 'model', message.content, noteOnReply(message))));
	offerRetry();
	if (toEnd) page.chat.scrollTop = page.chat.scrollHeight;
}

function showEarlier(id, { hasPreviousPage, startCursor }) {
	page.earlier.hidden = !hasPreviousPage;
	page.earlier.onclick = async () => {
		try {
			const { messages: { nodes, pageInfo } } = await readMessages(id, startCursor);
			if (id !== current) return;
			const fromEnd = page.chat.scrollHeight - page.chat.scrollTop;
			page.messages.prepend(...nodes.map((message) => articleOf(message.role === 'USER' ? 'user' : 'model', message.content, noteOnReply(message))));
			showEarlier(id, pageInfo);
			page.chat.scrollTop = page.chat.scrollHeight - fromEnd;
		} catch (error) {
			complain(error);
		}
	};
}

// ---- A reply as it is written

// Shows a reply; the same for both transports.
class Reply {
	#article = addMessage('model', '');
	#body = this.#article.querySelector('p');
	#pending = ''; // drawn once for each frame of the browser

	constructor() {
		this.#article.classList.add('writing');
	}

	add(text) {
		if (!this.#pending) requestAnimationFrame(() => this.#draw());
		this.#pending += text;
	}

	#draw() {
		const text = this.#pending;
		this.#pending = '';
		if (text) append(page.chat, () => this.#body.append(text));
	}

	replace(text) {
		this.#draw();
		if (this.#body.textContent !== text) append(page.chat, () => { this.#body.textContent = text; });
	}

	end(how) {
		this.#draw();
		this.#article.classList.remove('writing');
		const note = noteOnReply(how);
		append(page.chat, () => {
			if (note) this.#article.append(note);
			if (!this.#body.textContent) (note ? this.#body : this.#article).remove();
			offerRetry();
		});
		page.news.value = how.outcome === 'FAILED' ? note.textContent : `Reply: ${this.#body.textContent.slice(0, 1000)}`;
		// Failed replies and empty ones do not count.
		return this.#body.textContent && how.outcome !== 'FAILED' ? 1 : 0;
	}

	drop() {
		this.#article.remove();
	}
}

function showReading(controller) {
	reading = controller;
	const hadFocus = [page.send, page.stop].includes(document.activeElement);
	page.send.hidden = Boolean(controller);
	page.stop.hidden = !controller;
	if (hadFocus) page.text.focus();
}

const REPLY = `subscription ($messageId: ID!, $after: String) { reply(messageId: $messageId, after: $after) { __typename
	... on ReplySoFar { text recovered cursor } ... on ReplyDelta { text cursor } ... on ReplyEnded { text outcome reason error { code message } } } }`;

// Follows the replies that other clients, or this page before a reload, started: over the WebSocket, because a browser
// opens only six HTTP/1.1 connections to a server, for all its tabs.
async function watchReplies(replies) {
	const controller = new AbortController();
	showReading(controller);
	try {
		await Promise.all(replies.map(({ replyId }) => watchReply(replyId, controller.signal)));
	} finally {
		if (reading === controller) showReading();
	}
}

async function watchReply(messageId, signal) {
	const reply = new Reply();
	let after;
	while (!signal.aborted) {
		await whenConnected.promise;
		const { promise, resolve } = Promise.withResolvers();
		const onNext = ({ data, errors }) => {
			if (errors) return resolve(errorOf(errors));
			const event = data.reply;
			after = event.cursor ?? after;
			if (event.__typename === 'ReplyDelta' || event.recovered) reply.add(event.text);
			else reply.replace(event.text);
			if (event.__typename === 'ReplyEnded') counted += reply.end({ ...event, outcome: event.reason === 'STOPPED' ? 'STOPPED' : event.outcome });
		};
		const stop = run(REPLY, { messageId, after }, onNext, resolve);
		const abort = () => resolve();
		signal.addEventListener('abort', abort);
		const error = await promise;
		signal.removeEventListener('abort', abort);
		stop();
		if (!error) return;
		if (isConnected && error.code !== 'SHUTTING_DOWN') {
			reply.drop();
			throw error;
		}
	}
}

page.prompts.append(...PROMPTS.map((text) => element('button', {
	onclick: () => {
		page.text.value = text;
		page.composer.requestSubmit();
	},
}, text)));
page.curl.textContent = `curl -N ${at('api/v1/chat/stream')} \\\n  -H 'Content-Type: application/json' \\\n  -d '{"message": "${PROMPTS[0]}"}'`;
