// Operations, create modes, transactions, access control.
'use strict';

const assert = require('assert');
const zookeeper = require('node-zookeeper-client');
const { test, control, eventually, fails, promise } = require('./harness.js');

const { ACL, CreateMode, Id, Permission } = zookeeper;
const equal = assert.deepStrictEqual;

// The fields of a Stat that === can compare: the client returns 64-bit numbers as buffers.
function numbers(stat) {
    const { version, cversion, aversion, dataLength, numChildren } = stat;
    return { version, cversion, aversion, dataLength, numChildren };
}

function hex(...buffers) {
    return buffers.map((buffer) => buffer.toString('hex'));
}

test('operations', 'create and get', async (t) => {
    equal(await t.zk.create(t.path('a'), 'data'), t.path('a'));
    const [data, stat] = await t.zk.call('getData', t.path('a'));
    equal(data.toString(), 'data');
    equal(numbers(stat), { version: 0, cversion: 0, aversion: 0, dataLength: 4, numChildren: 0 });
    equal(hex(stat.mzxid, stat.pzxid), hex(stat.czxid, stat.czxid));
    equal(hex(stat.ephemeralOwner), ['0000000000000000']);
    assert(Math.abs(Number(stat.ctime.readBigInt64BE()) - Date.now()) < 60000);
});

test('operations', 'create without data gives null', async (t) => {
    await t.zk.call('create', t.path('null'));
    await t.zk.create(t.path('empty'), '');
    const [missing, stat] = await t.zk.call('getData', t.path('null'));
    const [empty] = await t.zk.call('getData', t.path('empty'));
    equal([missing, stat.dataLength, empty.length], [undefined, 0, 0]);
});

test('operations', 'create errors', async (t) => {
    await t.zk.create(t.path('a'));
    await t.zk.create(t.path('e'), '', CreateMode.EPHEMERAL);
    await fails('NODE_EXISTS', t.zk.create(t.path('a')));
    await fails('NO_NODE', t.zk.create(t.path('missing/b')));
    await fails('NO_CHILDREN_FOR_EPHEMERALS', t.zk.create(t.path('e/child')));
});

test('operations', 'set', async (t) => {
    await t.zk.create(t.path('a'), 'one');
    const stat = await t.zk.call('setData', t.path('a'), Buffer.from('three'), 0);
    equal(numbers(stat), { version: 1, cversion: 0, aversion: 0, dataLength: 5, numChildren: 0 });
    assert(stat.mzxid.readBigInt64BE() > stat.czxid.readBigInt64BE());
    equal(await t.zk.text(t.path('a')), 'three');
    await fails('BAD_VERSION', t.zk.call('setData', t.path('a'), Buffer.from(''), 7));
    await fails('NO_NODE', t.zk.call('setData', t.path('missing'), Buffer.from(''), -1));
});

test('operations', 'remove', async (t) => {
    await t.zk.create(t.path('a'));
    await t.zk.create(t.path('a/b'));
    await fails('NOT_EMPTY', t.zk.call('remove', t.path('a')));
    await fails('BAD_VERSION', t.zk.call('remove', t.path('a/b'), 5));
    await t.zk.call('removeRecursive', t.path('a'));
    equal(await t.zk.call('exists', t.path('a')), null);
    await fails('NO_NODE', t.zk.call('remove', t.path('a')));
});

test('operations', 'children', async (t) => {
    for (const name of ['c', 'a', 'b']) await t.zk.create(t.path(name));
    const [children, stat] = await t.zk.call('getChildren', t.root);
    equal([children.sort(), stat.numChildren, stat.cversion], [['a', 'b', 'c'], 3, 3]);
    await fails('NO_NODE', t.zk.call('getChildren', t.path('missing')));
});

test('operations', 'mkdirp', async (t) => {
    await t.zk.call('mkdirp', t.path('a/b/c'), Buffer.from('deep'));
    equal(await t.zk.text(t.path('a/b/c')), 'deep');
    equal(await t.zk.text(t.path('a/b')), 'deep');
});

test('operations', 'exists', async (t) => {
    equal(await t.zk.call('exists', t.path('a')), null);
    await t.zk.create(t.path('a'), 'x');
    equal((await t.zk.call('exists', t.path('a'))).dataLength, 1);
});

test('operations', 'large data', async (t) => {
    const data = 'x'.repeat(1000000);
    await t.zk.create(t.path('big'), data);
    equal((await t.zk.text(t.path('big'))) === data, true);
});

test('operations', 'pipelined answers come in order', async (t) => {
    await t.zk.create(t.path('a'), '-1');
    const seen = [];
    for (let number = 0; number < 100; number += 1) {
        t.zk.raw.setData(t.path('a'), Buffer.from(String(number)), (error, stat) => seen.push(error || stat.version));
        t.zk.raw.getData(t.path('a'), (error, data) => seen.push(error || data.toString()));
    }
    await eventually('all answers', () => seen.length === 200);
    equal(seen, Array.from({ length: 100 }, (_, number) => [number + 1, String(number)]).flat());
});

test('operations', 'chroot', async (t) => {
    const inside = await t.client({}, t.root);
    equal(await inside.create('/a', 'x'), '/a');
    equal(await inside.create('/s-', '', CreateMode.PERSISTENT_SEQUENTIAL), '/s-0000000001');
    equal(await t.zk.text(t.path('a')), 'x');
    const watch = await inside.watch('exists', '/a');
    await t.zk.call('remove', t.path('a'));
    equal(await watch.fired(), 'NODE_DELETED /a');
});

test('create modes', 'sequential', async (t) => {
    const names = [];
    for (let count = 0; count < 3; count += 1) names.push(await t.zk.create(t.path('n-'), '', CreateMode.PERSISTENT_SEQUENTIAL));
    equal(names, ['0000000000', '0000000001', '0000000002'].map((suffix) => t.path(`n-${suffix}`)));
    await t.zk.create(t.path('plain'));
    equal(await t.zk.create(t.path('e-'), '', CreateMode.EPHEMERAL_SEQUENTIAL), t.path('e-0000000004'));
});

test('create modes', 'ephemeral', async (t) => {
    const other = await t.client();
    await other.create(t.path('e'), '', CreateMode.EPHEMERAL);
    const stat = await t.zk.call('exists', t.path('e'));
    equal(hex(stat.ephemeralOwner), [other.session]);
    const watch = await t.zk.watch('exists', t.path('e'));
    other.close();
    equal(await watch.fired(), `NODE_DELETED ${t.path('e')}`);
});

test('transactions', 'commit', async (t) => {
    await t.zk.create(t.path('old'), '1');
    await t.zk.create(t.path('gone'));
    const transaction = t.zk.raw.transaction()
        .create(t.path('new'), Buffer.from('n'))
        .create(t.path('s-'), CreateMode.PERSISTENT_SEQUENTIAL)
        .setData(t.path('old'), Buffer.from('2'), -1)
        .check(t.path('old'), 1)
        .remove(t.path('gone'), -1);
    const results = await promise((callback) => transaction.commit(callback));
    equal(results.map((result) => result.type), [1, 1, 5, 13, 2]);
    equal([results[0].path, results[1].path, results[2].stat.version], [t.path('new'), t.path('s-0000000003'), 1]);
    equal(await t.zk.text(t.path('old')), '2');
    equal(await t.zk.call('exists', t.path('gone')), null);
});

test('transactions', 'failure undoes everything', async (t) => {
    await t.zk.create(t.path('old'), '1');
    const transaction = t.zk.raw.transaction().create(t.path('new')).check(t.path('old'), 9).remove(t.path('old'), -1);
    const [error, results] = await new Promise((resolve) => transaction.commit((...answer) => resolve(answer)));
    equal(error.getName(), 'BAD_VERSION');
    equal(results.map((result) => result.err), [0, -103, -2]);
    equal(await t.zk.call('exists', t.path('new')), null);
});

test('acl', 'set and get', async (t) => {
    await t.zk.create(t.path('a'));
    const acls = [new ACL(Permission.READ | Permission.ADMIN, new Id('world', 'anyone')), new ACL(Permission.ALL, new Id('ip', '127.0.0.1'))];
    const stat = await t.zk.call('setACL', t.path('a'), acls, 0);
    equal([stat.aversion, stat.version], [1, 0]);
    const [found] = await t.zk.call('getACL', t.path('a'));
    equal(found.map((acl) => [acl.permission, acl.id.scheme, acl.id.id]), [[17, 'world', 'anyone'], [31, 'ip', '127.0.0.1']]);
    await fails('BAD_VERSION', t.zk.call('setACL', t.path('a'), acls, 7));
});

test('acl', 'each permission guards its operation', async (t) => {
    await t.zk.call('create', t.path('a'), [new ACL(Permission.ADMIN, new Id('world', 'anyone'))]);
    await fails('NO_AUTH', t.zk.call('getData', t.path('a')));
    await fails('NO_AUTH', t.zk.call('getChildren', t.path('a')));
    await fails('NO_AUTH', t.zk.call('setData', t.path('a'), Buffer.from('')));
    await fails('NO_AUTH', t.zk.create(t.path('a/b')));
    await t.zk.call('setACL', t.path('a'), ACL.READ_ACL_UNSAFE);
    await control('settle');
    equal(await t.zk.call('getData', t.path('a')).then(([data]) => data), undefined);
    await fails('NO_AUTH', t.zk.call('setACL', t.path('a'), ACL.OPEN_ACL_UNSAFE));
});

test('auth', 'digest opens what it owns', async (t) => {
    await fails('INVALID_ACL', t.zk.call('create', t.path('a'), ACL.CREATOR_ALL_ACL));
    const owner = await t.client();
    owner.raw.addAuthInfo('digest', Buffer.from('alice:secret'));
    await owner.call('create', t.path('a'), Buffer.from('x'), ACL.CREATOR_ALL_ACL);
    await fails('NO_AUTH', t.zk.call('getData', t.path('a')));
    t.zk.raw.addAuthInfo('digest', Buffer.from('alice:wrong'));
    await fails('NO_AUTH', t.zk.call('getData', t.path('a')));
    t.zk.raw.addAuthInfo('digest', Buffer.from('alice:secret'));
    equal(await t.zk.text(t.path('a')), 'x');
});

test('auth', 'unknown scheme fails the client', async (t) => {
    const client = await t.client();
    const failed = client.state('AUTH_FAILED');
    client.raw.addAuthInfo('no-such-scheme', Buffer.from('x'));
    await failed;
});
