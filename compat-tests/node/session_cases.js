// Sessions through lost sockets and server restarts.
'use strict';

const assert = require('assert');
const zookeeper = require('node-zookeeper-client');
const { test, control, sleep, SESSION_TIMEOUT_MS } = require('./harness.js');

const { ACL, CreateMode } = zookeeper;
const equal = assert.deepStrictEqual;

test('sessions', 'timeout is negotiated', async (t) => {
    const granted = [];
    for (const sessionTimeout of [100, 4000, 600000]) granted.push((await t.client({ sessionTimeout })).raw.getSessionTimeout());
    equal(granted, [1000, 4000, SESSION_TIMEOUT_MS]);
});

test('sessions', 'dropped socket resumes the session', async (t) => {
    const { session } = t.zk;
    await t.zk.create(t.path('e'), '', CreateMode.EPHEMERAL);
    const back = t.zk.state('SYNC_CONNECTED');
    t.zk.drop();
    await back;
    equal(t.zk.session, session);
    equal((await t.zk.again('exists', t.path('e'))).ephemeralOwner.toString('hex'), session);
    equal(t.zk.states, ['SYNC_CONNECTED', 'DISCONNECTED', 'SYNC_CONNECTED']);
});

test('sessions', 'watches are caught up after a dropped socket', async (t) => {
    const other = await t.client();
    await t.zk.create(t.path('a'));
    await t.zk.create(t.path('p'));
    const changed = await t.zk.watch('getData', t.path('a'));
    const children = await t.zk.watch('getChildren', t.path('p'));
    const created = await t.zk.watch('exists', t.path('later'));
    const never = await t.zk.watch('exists', t.path('never'));
    t.zk.drop();
    await Promise.all([other.call('setData', t.path('a'), Buffer.from('1')), other.create(t.path('p/c')), other.create(t.path('later'))]);
    equal(await changed.fired(), `NODE_DATA_CHANGED ${t.path('a')}`);
    equal(await children.fired(), `NODE_CHILDREN_CHANGED ${t.path('p')}`);
    equal(await created.fired(), `NODE_CREATED ${t.path('later')}`);
    await never.silent();
});

test('sessions', 'identity survives a dropped socket', async (t) => {
    t.zk.raw.addAuthInfo('digest', Buffer.from('alice:secret'));
    await t.zk.call('create', t.path('a'), Buffer.from('x'), ACL.CREATOR_ALL_ACL);
    const back = t.zk.state('SYNC_CONNECTED');
    t.zk.drop();
    await back;
    equal((await t.zk.again('getData', t.path('a')))[0].toString(), 'x');
});

test('sessions', 'kept by pings', async (t) => {
    const client = await t.client({ sessionTimeout: 1000 });
    const { session } = client;
    await client.create(t.path('e'), '', CreateMode.EPHEMERAL);
    await sleep(3000);
    assert(await t.zk.call('exists', t.path('e')));
    equal([client.session, client.states], [session, ['SYNC_CONNECTED']]);
});

async function keptThrough(t, ...actions) {
    const { session } = t.zk;
    await t.zk.create(t.path('a'), 'kept');
    const stat = await t.zk.call('setData', t.path('a'), Buffer.from('kept twice'));
    await t.zk.create(t.path('e'), '', CreateMode.EPHEMERAL);
    await t.zk.create(t.path('p'));
    await t.zk.create(t.path('p/n-'), '', CreateMode.PERSISTENT_SEQUENTIAL);
    const watch = await t.zk.watch('getData', t.path('a'));
    await Promise.all([control(...actions), t.zk.reconnected()]);
    equal(t.zk.session, session);
    const [data, now] = await t.zk.again('getData', t.path('a'));
    equal([data.toString(), now], ['kept twice', stat]);
    equal((await t.zk.call('exists', t.path('e'))).ephemeralOwner.toString('hex'), session);
    equal(await t.zk.create(t.path('p/n-'), '', CreateMode.PERSISTENT_SEQUENTIAL), t.path('p/n-0000000001'));
    const other = await t.client();
    await other.call('setData', t.path('a'), Buffer.from('after'), 1);
    equal(await watch.fired(), `NODE_DATA_CHANGED ${t.path('a')}`);
    const gone = await other.watch('exists', t.path('e'));
    t.zk.close();
    equal(await gone.fired(), `NODE_DELETED ${t.path('e')}`);
}

test('restart', 'everything is kept', (t) => keptThrough(t, 'restart'), true);
test('restart', 'everything is kept after kill -9', (t) => keptThrough(t, 'kill9', 'start'), true);
