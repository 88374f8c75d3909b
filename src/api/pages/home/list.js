// The list of conversations, live, and the search in it. Of two states of a conversation, the one with the higher
// revision is newer.

const FIELDS = 'id title displayName titleStatus titleWaitsFor titleError { code message retryAt } revision status messageCount lastMessageAt archivedAt';
const SEARCH_DELAY = 0.2;

const conversations = new Map();
const items = new Map();
let isListRead = false;
let isArchive = false; // whether the list shows the archived conversations
let isDrawing = false;

function watchList() {
	run(`subscription { conversationUpdated { ${FIELDS} } }`, {}, ({ data }) => data && learn(data.conversationUpdated),
		// After the error LAGGED, read the list again.
		(error) => /LAGGED/.test(error?.message) && begin());
}

async function readList(after) {
	const archived = isArchive;
	try {
		const { conversations: { nodes, pageInfo } } = await ask(
			`query ($after: String, $archived: Boolean) { conversations(first: 50, after: $after, filter: { archived: $archived }) { nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`, { after, archived });
		nodes.forEach(learn);
		if (archived !== isArchive) return;
		isListRead = true;
		drawList();
		page.older.dataset.more = pageInfo.hasNextPage || '';
		page.older.hidden = !pageInfo.hasNextPage || !page.list.checkVisibility();
		page.older.onclick = () => readList(pageInfo.endCursor);
	} catch (error) {
		if (isConnected) complain(error);
	}
}

function learn(conversation) {
	const { id, revision, displayName, status, messageCount } = conversation;
	const known = conversations.get(id);
	if (known?.revision >= revision) return;
	conversations.set(id, conversation); // also if deleted: an older state must not restore it
	const item = items.get(id) ?? element('button', { onclick: () => goTo(id), onanimationend: () => item.classList.remove('titled') });
	items.set(id, item);
	drawItem(item, conversation);
	// Once: an animation would start again whenever the list is shown again.
	if (known && displayName && known.displayName !== displayName) item.className = 'titled';
	drawSoon();
	if (id !== current) return;
	if (status === 'DELETED') {
		goTo('');
		return complain(new Error('The conversation was deleted'));
	}
	showTitle(conversation);
	// Another client sent or changed a message.
	if (!reading && counted !== undefined && messageCount !== counted) show(id);
}

function drawItem(item, conversation, note = noteOn(conversation)) {
	const { id, title, displayName } = conversation;
	item.className = displayName ? '' : 'untitled';
	item.ariaCurrent = id === current;
	item.replaceChildren(element('span', { dir: 'auto' }, title), element('small', {}, note));
}

// A page of 50 changes the list once.
function drawSoon() {
	if (isDrawing) return;
	isDrawing = true;
	queueMicrotask(drawList);
}

function drawList() {
	isDrawing = false;
	const active = [...conversations.values()].filter(({ status }) => status === 'ACTIVE');
	const shown = active.filter(({ archivedAt }) => Boolean(archivedAt) === isArchive)
		.sort((a, b) => a.lastMessageAt < b.lastMessageAt ? 1 : -1).map(({ id }) => items.get(id));
	// Move only the items whose place changed, so that the focus stays.
	shown.forEach((item, place) => {
		if (page.list.children[place]?.firstChild !== item) page.list.insertBefore(item.parentNode ?? element('li', {}, item), page.list.children[place] ?? null);
	});
	while (page.list.childElementCount > shown.length) page.list.lastChild.remove();
	page.first.hidden = !isListRead || active.length > 0;
	page.empty.hidden = !isListRead || !isArchive || shown.length > 0 || page.list.hidden;
}

function noteOn({ titleStatus, titleWaitsFor, titleError, messageCount, archivedAt }) {
	const messages = messageCount === 1 ? '1 message' : `${messageCount} messages`;
	const title = titleStatus === 'PENDING' ? (titleWaitsFor ? 'title waits for a message with a topic' : 'title pending')
		: titleError ? `no title: ${titleError.code}` : '';
	return [messages, title, archivedAt && 'archived'].filter(Boolean).join(', ');
}

function mark(id) {
	for (const item of page.hits.querySelectorAll('button')) item.ariaCurrent = item.dataset.id === id;
	for (const [of, item] of items) item.ariaCurrent = of === id;
}

page.archived.onclick = () => {
	isArchive = !isArchive;
	isListRead = false;
	page.archived.ariaPressed = isArchive;
	page.older.dataset.more = '';
	page.older.hidden = true;
	page.query.value = '';
	search();
	drawList();
	readList();
};

// ---- Search

let searches = 0;

function showHits(isSearching) {
	page.hits.hidden = !isSearching;
	page.list.hidden = isSearching;
	page.older.hidden = isSearching || !page.older.dataset.more;
	if (!isSearching) page.found.value = '';
	drawSoon();
}

// The title, and where the words stand: in the title, or in a message.
function hitOf({ snippet, highlights, conversation }) {
	const item = element('button', { onclick: () => goTo(conversation.id) });
	item.dataset.id = conversation.id;
	drawItem(item, conversation);
	const marked = [];
	let end = 0;
	for (const range of highlights) {
		marked.push(snippet.slice(end, range.start), element('mark', {}, snippet.slice(range.start, range.end)));
		end = range.end;
	}
	const [title, note] = item.children;
	(snippet === conversation.title ? title : note).replaceChildren(...marked, snippet.slice(end));
	note.dir = 'auto';
	return element('li', {}, item);
}

async function search() {
	const mine = ++searches;
	const query = page.query.value.trim();
	if (!query) return showHits(false);
	await seconds(SEARCH_DELAY); // until the user stops typing
	if (mine !== searches) return;
	try {
		const { searchConversations: { nodes, pageInfo } } = await ask(
			`query ($query: String!) { searchConversations(query: $query, first: 50) { nodes { snippet highlights { start end } conversation { ${FIELDS} } } pageInfo { hasNextPage } } }`, { query });
		if (mine !== searches) return;
		page.hits.replaceChildren(...nodes.map(hitOf));
		showHits(true);
		page.found.value = nodes.length ? `${nodes.length}${pageInfo.hasNextPage ? ' and more' : ''} found` : `Nothing found for “${query}”`;
	} catch ({ message }) {
		if (mine !== searches) return;
		page.hits.replaceChildren();
		showHits(true);
		page.found.value = message;
	}
}

page.query.oninput = search;
page.searching.onsubmit = (event) => {
	event.preventDefault();
	search();
};
page.query.onkeydown = ({ key }) => {
	if (key !== 'Escape') return;
	page.query.value = '';
	search();
};

// ---- On a phone the list slides over the conversation

const narrow = matchMedia('(max-width: 800px)');

function showSide(isOpen) {
	page.side.classList.toggle('open', isOpen);
	page.side.inert = narrow.matches && !isOpen;
	document.querySelector('main').inert = narrow.matches && isOpen;
	page.menu.ariaExpanded = isOpen;
	if (narrow.matches) (isOpen ? page.unlist : page.menu).focus();
}

const fitSide = () => {
	page.side.classList.remove('open');
	page.side.inert = narrow.matches;
	document.querySelector('main').inert = false;
};
narrow.onchange = fitSide;
fitSide();
page.menu.onclick = () => showSide(true);
page.unlist.onclick = () => showSide(false);
// Blocks, because a handler that returns false would prevent what the key or the click does.
document.onclick = ({ target }) => {
	if (page.side.classList.contains('open') && !page.side.contains(target) && target !== page.menu) showSide(false);
};
page.side.onkeydown = ({ key, target }) => {
	if (key === 'Escape' && target !== page.query && page.side.classList.contains('open')) showSide(false);
};
page.skip.onclick = () => page.text.focus();
