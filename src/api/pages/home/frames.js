// The page's elements, and the drawer that shows each frame in order of arrival; times count from the last message sent.

const page = Object.fromEntries([...document.querySelectorAll('[id]')].map((node) => [node.id, node]));
const at = (path) => new URL(path, location); // relative: a proxy may add a prefix
const seconds = (n) => new Promise((resolve) => setTimeout(resolve, n * 1000));

// What the server sends becomes text, never markup.
function element(tag, properties, ...children) {
	const node = Object.assign(document.createElement(tag), properties);
	node.append(...children);
	return node;
}

// Changes a scrolling log, and keeps it scrolled to the end if it was there.
function append(log, change) {
	const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
	change();
	if (isAtEnd) log.scrollTop = log.scrollHeight;
}

const MOST_FRAMES = 500;
const MOST_CHARACTERS = 4000; // of a frame: a history may have megabytes

let zero = performance.now();
const titlesOf = { graphql: new Map(), sse: new Map() }; // the titles that a log has shown, by conversation

// Whether a log shows this title for the first time.
function isNewTitle(log, id, title) {
	if (!title || titlesOf[log].get(id) === title) return false;
	titlesOf[log].set(id, title);
	return true;
}

// Drawn once for each frame of the browser: to measure the page after each piece of a long reply would take seconds.
let waiting = { graphql: [], sse: [] };

function showFrame(log, arrow, text, className = '') {
	const cut = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)} … (${text.length} characters)` : text;
	const time = element('time', {}, `${arrow} ${Math.round(performance.now() - zero)} ms`);
	if (!waiting.graphql.length && !waiting.sse.length) requestAnimationFrame(drawFrames);
	waiting[log].push(element('li', { className }, time, cut));
	if (waiting[log].length > MOST_FRAMES) waiting[log].shift();
}

function drawFrames() {
	for (const [log, frames] of Object.entries(waiting)) {
		const list = page[log];
		const change = () => {
			list.append(...frames);
			while (list.childElementCount > MOST_FRAMES) list.firstChild.remove();
		};
		if (page.drawer.hidden) change();
		else if (frames.length) append(list, change);
	}
	waiting = { graphql: [], sse: [] };
}

// A reload keeps the drawer open; where the browser stores nothing, it does not.
const memory = (value) => {
	try {
		return value === undefined ? sessionStorage.frames : (sessionStorage.frames = value);
	} catch {
		return '';
	}
};

function showDrawer(isOpen) {
	page.drawer.hidden = !isOpen;
	page.toggle.ariaExpanded = isOpen;
	memory(isOpen ? 'open' : '');
	for (const log of [page.graphql, page.sse]) log.scrollTop = log.scrollHeight;
	page.chat.scrollTop = page.chat.scrollHeight;
}

page.toggle.onclick = () => showDrawer(page.drawer.hidden);
page.undraw.onclick = () => {
	showDrawer(false);
	page.toggle.focus();
};
page.deltas.onchange = () => { page.sse.scrollTop = page.sse.scrollHeight; };
