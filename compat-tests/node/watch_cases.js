// Watches: the kind, number and order of events.
'use strict';

const assert = require('assert');
const { test, eventually, fails } = require('./harness.js');

const equal = assert.deepStrictEqual;

test('watches', 'data', async (t) => {
    await t.zk.create(t.path('a'));
    let watch = await t.zk.watch('getData', t.path('a'));
    await t.zk.call('setData', t.path('a'), Buffer.from('1'));
    equal(await watch.fired(), `NODE_DATA_CHANGED ${t.path('a')}`);
    watch = await t.zk.watch('getData', t.path('a'));
    await t.zk.call('remove', t.path('a'));
    equal(await watch.fired(), `NODE_DELETED ${t.path('a')}`);
});

test('watches', 'exists', async (t) => {
    let watch = await t.zk.watch('exists', t.path('a'));
    await t.zk.create(t.path('a'));
    equal(await watch.fired(), `NODE_CREATED ${t.path('a')}`);
    watch = await t.zk.watch('exists', t.path('a'));
    await t.zk.call('setData', t.path('a'), Buffer.from('1'));
    equal(await watch.fired(), `NODE_DATA_CHANGED ${t.path('a')}`);
});

test('watches', 'children', async (t) => {
    await t.zk.create(t.path('p'));
    let watch = await t.zk.watch('getChildren', t.path('p'));
    await t.zk.call('setData', t.path('p'), Buffer.from('not for child watches'));
    await t.zk.create(t.path('p/c'));
    equal(await watch.fired(), `NODE_CHILDREN_CHANGED ${t.path('p')}`);
    watch = await t.zk.watch('getChildren', t.path('p'));
    await t.zk.create(t.path('p/c/d'));
    await watch.silent();
});

test('watches', 'fire once', async (t) => {
    const events = [];
    await t.zk.create(t.path('a'));
    await t.zk.call('getData', t.path('a'), (event) => events.push(event.getName()));
    const other = await t.client();
    await other.call('setData', t.path('a'), Buffer.from('1'));
    await other.call('setData', t.path('a'), Buffer.from('2'));
    await eventually('an event', () => events.length > 0);
    await (await t.zk.watch('getData', t.path('a'))).silent();
    equal(events, ['NODE_DATA_CHANGED']);
});

test('watches', 'failed read leaves none', async (t) => {
    const events = [];
    await fails('NO_NODE', t.zk.call('getData', t.path('a'), (event) => events.push(event)));
    await t.zk.create(t.path('a'));
    await (await t.zk.watch('getData', t.path('a'))).silent();
    equal(events, []);
});

test('watches', 'events of one client follow the writes', async (t) => {
    const events = [];
    const names = Array.from({ length: 30 }, (_, number) => t.path(`n${number}`));
    for (const name of names) await t.zk.call('exists', name, (event) => events.push(event.getPath()));
    const other = await t.client();
    await Promise.all(names.map((name) => other.create(name)));
    await eventually('all events', () => events.length === names.length);
    equal(events, names);
});
