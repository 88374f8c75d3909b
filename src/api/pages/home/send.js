// Sending a message: a POST whose reply is a stream, resumed after a disconnect. And the other changes of a conversation.

let key; // the idempotency key of the message being sent, so that a retry is not stored twice

const forget = () => { key = undefined; };

const replyOf = (id, place, signal) =>
	request(`api/v1/conversations/${id}/reply`, { signal, headers: place ? { 'last-event-id': place } : {} });

// Streams a reply. Reconnects and resumes after each disconnect.
async function follow(response, controller) {
	const { signal } = controller;
	let id;
	let reply;
	let place;
	let isOver = false;
	const onEvent = (event, eventId) => {
		place = eventId;
		id ??= event.conversation_id;
		if (signal.aborted) return;
		if (!current) {
			// replaceState fires no hashchange: the conversation is already shown.
			history.replaceState(null, '', '#' + (current = id));
			page.actions.hidden = false;
			mark(id);
		}
		if (controller.isSending && controller.isStopped) stopReply();
		controller.isSending = false;
		if (event.display_name) showTitle({ title: event.display_name, titleStatus: 'READY' });
		if (event.event === 'conversation.title.generated') page.about.textContent = `Title after ${((performance.now() - zero) / 1000).toFixed(1)} s`;
		reply ??= new Reply();
		if (event.text_delta) reply.add(event.text_delta);
		// The full text: at the end of the reply, or if it replaces the text shown before.
		if (event.response_text !== undefined) reply.replace(event.response_text);
		isOver = event.is_terminal;
		if (isOver) counted += reply.end(howItEnded(event));
	};
	for (let cuts = 0; response.status !== 204; cuts++) {
		await readFrames(response, onEvent, signal).catch(() => {});
		if (isOver || signal.aborted) return;
		showFrame('sse', '×', 'the stream was cut off');
		response = await retry(() => replyOf(id, place, signal), signal, cuts);
	}
}

function howItEnded({ kind, raw_type, payload }) {
	if (kind === 'error') return { outcome: 'FAILED', error: { message: payload.error, code: payload.code } };
	if (raw_type !== 'response.incomplete') return { outcome: 'COMPLETED' };
	return payload?.reason === 'stopped' ? { outcome: 'STOPPED' } : { outcome: 'INCOMPLETE', reason: payload?.reason };
}

// Retries until there is a response, even an error.
async function retry(ask, signal, cuts) {
	for (;; cuts++) {
		await seconds(Math.min(10, 2 ** cuts / 4));
		try {
			return await ask();
		} catch (error) {
			if (signal.aborted || (error.code && !/SHUTTING_DOWN|RATE_LIMITED|DATABASE_UNAVAILABLE|TIMEOUT|50\d/.test(error.code))) throw error;
		}
	}
}

// Splits the stream into frames at empty lines, whatever the network's chunks.
async function readFrames(response, onEvent, signal) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	signal.addEventListener('abort', () => reader.cancel());
	let rest = '';
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const frames = (rest + value).split('\n\n');
		rest = frames.pop();
		for (const frame of frames) {
			const [data] = /(?<=^data: ).*/m.exec(frame) ?? [];
			const event = data && JSON.parse(data);
			const isTitle = event?.kind === 'lifecycle' && isNewTitle('sse', event.conversation_id, event.display_name);
			showFrame('sse', '↓', frame, isTitle ? 'title' : event?.text_delta ? 'delta' : '');
			if (event) onEvent(event, /(?<=^id: ).*/m.exec(frame)?.[0]);
		}
	}
}

page.composer.onsubmit = async (event) => {
	event.preventDefault();
	const message = page.text.value;
	if (reading || !message.trim()) return;
	complain();
	zero = performance.now();
	key ??= Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('');
	const body = JSON.stringify({ message, conversation_id: current || undefined });
	showFrame('sse', '↑', body);
	const controller = Object.assign(new AbortController(), { isSending: true });
	showReading(controller);
	const isUnread = counted === undefined; // no connection yet: the history is shown behind the reply
	shows++;
	page.welcome.hidden = true;
	page.text.value = '';
	const sent = addMessage('user', message);
	sent.classList.add('sending');
	page.chat.scrollTop = page.chat.scrollHeight;
	try {
		// Not aborted when another conversation is opened: the message would be lost.
		const response = await request('api/v1/chat/stream?ids=true', {
			method: 'POST', body, headers: { 'content-type': 'application/json', 'idempotency-key': key },
		});
		sent.classList.remove('sending');
		forget();
		if (controller.signal.aborted) return response.body.cancel();
		counted = (counted ?? 0) + 1;
		page.news.value = 'Sent';
		await follow(response, controller);
	} catch (error) {
		if (sent.classList.contains('sending')) {
			// A rejected message goes back to the field, before what was typed meanwhile.
			sent.remove();
			page.text.value = [message, page.text.value].filter(Boolean).join('\n');
			page.welcome.hidden = Boolean(current);
		}
		if (error.name !== 'AbortError') complain(error instanceof TypeError ? new Error('The server cannot be reached. Your message is kept: send it again.') : error);
	} finally {
		if (reading === controller) {
			showReading();
			// Messages of other clients that arrived meanwhile.
			if (isUnread || conversations.get(current)?.messageCount > counted) show(current);
		}
	}
};

page.text.oninput = forget; // another message
page.text.onkeydown = (event) => {
	// With an input method, Enter also confirms a word. On a phone it begins a line.
	if (event.key !== 'Enter' || event.shiftKey || event.isComposing || matchMedia('(pointer: coarse)').matches) return;
	event.preventDefault();
	page.composer.requestSubmit();
};
if (!narrow.matches) page.text.placeholder = 'Message; Enter sends, Shift-Enter begins a line';

// ---- Changes of a conversation

const change = async (name, input) => {
	complain();
	try {
		const type = name[0].toUpperCase() + name.slice(1);
		const { [name]: { conversation } } = await ask(`mutation ($input: ${type}Input!) { ${name}(input: $input) { conversation { ${FIELDS} } } }`, { input });
		learn(conversation);
		return conversation;
	} catch (error) {
		complain(error);
	}
};

async function writeAnew() {
	const id = current;
	try {
		const { messages: { nodes } } = await readMessages(id);
		if (await change('regenerateReply', { messageId: nodes.at(-1).id }) && id === current && !reading) show(id);
	} catch (error) {
		complain(error);
	}
}

function showRenaming(isOpen) {
	page.renaming.hidden = !isOpen;
	page.actions.hidden = isOpen;
	if (!isOpen) return page.rename.focus();
	page.name.value = page.heading.textContent;
	page.name.select();
}

page.rename.onclick = () => showRenaming(true);
page.keep.onclick = () => showRenaming(false);
page.renaming.onsubmit = async (event) => {
	event.preventDefault();
	showRenaming(false);
	await change('renameConversation', { id: current, displayName: page.name.value });
};
page.name.onkeydown = ({ key }) => {
	if (key === 'Escape') showRenaming(false);
};
page.again.onclick = () => change('regenerateTitle', { id: current, replaceManual: true });
page.archive.onclick = () => change(conversations.get(current)?.archivedAt ? 'unarchiveConversation' : 'archiveConversation', { conversationId: current });
page.remove.onclick = () => confirm(`Delete “${page.heading.textContent}”?`) && change('deleteConversation', { id: current });
const stopReply = () => change('stopReply', { conversationId: current });
page.stop.onclick = () => {
	// A message that is still being sent is stopped when its reply begins.
	reading.isStopped = true;
	if (!reading.isSending) stopReply();
};
page.fresh.onclick = () => {
	goTo('');
	page.text.focus();
};
onhashchange = () => show(location.hash.slice(1));

showDrawer(memory() === 'open');
connect();
show(location.hash.slice(1));
