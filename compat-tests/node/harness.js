// Runs the Node client's cases and prints the lines of ../README.md.
//
// A case is an async function of a scope: clients that are closed when it ends, and a znode of its own. The client uses
// callbacks; `scope` methods return promises instead. Cases run in parallel, except those that disturb the whole server.
'use strict';

const assert = require('assert');
const { execFile } = require('child_process');
const zookeeper = require('node-zookeeper-client');

const SIDE_BY_SIDE = 8;
const CASE_LIMIT_MS = 45000;
const PATIENCE_MS = 15000;
// Time in which an unexpected event would arrive.
const QUIET_MS = 300;
// The longest session timeout that the server grants, because a session must survive a restart.
const SESSION_TIMEOUT_MS = 10000;

const registered = [];
let scopes = 0;

function test(feature, name, run, alone = false) {
    registered.push({ feature, name, run, alone });
}

function sleep(milliseconds) {
    return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function within(promise, what, milliseconds = PATIENCE_MS) {
    let timer;
    const limit = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`did not happen: ${what}`)), milliseconds);
    });
    return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

async function eventually(what, condition) {
    const deadline = Date.now() + PATIENCE_MS;
    while (!(await condition())) {
        if (Date.now() > deadline) throw new Error(`did not happen: ${what}`);
        await sleep(10);
    }
}

// A client with promises: `call('getData', path)` resolves to the callback's values, or to the value if there is only one.
class Client {
    constructor(connectionString, options) {
        this.raw = zookeeper.createClient(connectionString, { sessionTimeout: SESSION_TIMEOUT_MS, spinDelay: 100, retries: 0, ...options });
        this.states = [];
        this.raw.on('state', (state) => this.states.push(state.getName()));
    }

    async connect() {
        const connected = new Promise((resolve) => this.raw.once('connected', resolve));
        this.raw.connect();
        await within(connected, 'connecting');
        return this;
    }

    // Resolves the next time that the client enters this state.
    state(name) {
        const already = this.states.length;
        return eventually(`state ${name}`, () => this.states.slice(already).includes(name));
    }

    // Like `state('SYNC_CONNECTED')`, but works across a restart: during startup, Apache ZooKeeper occasionally accepts a connection
    // and never reads from it; this client would wait for its handshake forever.
    async reconnected() {
        const impatience = setInterval(() => this.drop(), 2500);
        await this.state('SYNC_CONNECTED').finally(() => clearInterval(impatience));
    }

    call(method, ...parameters) {
        return promise((callback) => this.raw[method](...parameters, callback));
    }

    create(path, data = '', mode = zookeeper.CreateMode.PERSISTENT) {
        return this.call('create', path, Buffer.from(data), mode);
    }

    async text(path) {
        return (await this.call('getData', path))[0].toString();
    }

    // Sets a one-shot watch. Returns functions that wait for its event, or check that there is none.
    async watch(method, path) {
        let event;
        const fired = new Promise((resolve) => { event = resolve; });
        await this.call(method, path, (seen) => event(`${seen.getName()} ${seen.getPath()}`));
        return { fired: () => within(fired, `event on ${path}`), silent: async () => assert.strictEqual(await Promise.race([fired, sleep(QUIET_MS)]), undefined) };
    }

    // Repeats a call until the client has reconnected.
    async again(method, ...parameters) {
        let result;
        await eventually(`${method} again`, async () => {
            try {
                result = await this.call(method, ...parameters);
                return true;
            } catch (error) {
                if (error.getName && error.getName() === 'CONNECTION_LOSS') return false;
                throw error;
            }
        });
        return result;
    }

    get session() {
        return this.raw.getSessionId().toString('hex');
    }

    drop() {
        this.raw.connectionManager.socket.destroy();
    }

    close() {
        this.raw.close();
    }
}

function promise(start) {
    return new Promise((resolve, reject) => {
        start((error, ...values) => {
            if (error) reject(error);
            else resolve(values.length > 1 ? values : values[0]);
        });
    });
}

class Scope {
    constructor() {
        this.root = `/node-${process.pid}-${++scopes}`;
        this.clients = [];
    }

    async client(options = {}, chroot = '') {
        const client = new Client(process.env.ZK_CONNECT + chroot, options);
        this.clients.push(client);
        return client.connect();
    }

    path(name) {
        return `${this.root}/${name}`;
    }

    close() {
        this.clients.forEach((client) => client.close());
    }
}

async function fails(name, attempt) {
    let value;
    try {
        value = await attempt;
    } catch (error) {
        if (!error.getName) throw error;
        assert.strictEqual(error.getName(), name);
        return;
    }
    throw new Error(`returned ${value} instead of failing with ${name}`);
}

// Runs the server's control script in the background, because the client must keep running meanwhile.
function control(...actions) {
    return new Promise((resolve, reject) => {
        const [action, ...rest] = actions;
        execFile(process.env.ZK_CTL, [action], (error) => {
            if (error) reject(error);
            else resolve(rest.length ? control(...rest) : undefined);
        });
    });
}

function place(error) {
    const line = (error.stack || '').split('\n').find((text) => /cases\.js:\d+/.test(text));
    return line ? ` (${line.match(/[\w]+\.js:\d+/)[0]})` : '';
}

async function execute({ feature, name, run }) {
    const scope = new Scope();
    try {
        const whole = (async () => {
            scope.zk = await scope.client();
            await scope.zk.create(scope.root);
            await run(scope);
        })();
        await within(whole, `a result in ${CASE_LIMIT_MS} ms`, CASE_LIMIT_MS);
        console.log(`ok ${feature} / ${name}`);
        return true;
    } catch (error) {
        console.log(`not ok ${feature} / ${name} # ${String(error.message || error).replace(/\s+/g, ' ')}${place(error)}`);
        return false;
    } finally {
        scope.close();
    }
}

async function runAll() {
    const parts = process.argv.slice(2);
    const wanted = registered.filter(({ feature, name }) => !parts.length || parts.some((part) => `${feature}/${name}`.includes(part)));
    const queue = wanted.filter((entry) => !entry.alone);
    let allOk = true;
    const worker = async () => {
        for (let entry = queue.shift(); entry; entry = queue.shift()) allOk = (await execute(entry)) && allOk;
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
    for (const entry of wanted.filter(({ alone }) => alone)) allOk = (await execute(entry)) && allOk;
    process.exit(allOk ? 0 : 1);
}

module.exports = { test, fails, sleep, eventually, control, runAll, promise, SESSION_TIMEOUT_MS };
