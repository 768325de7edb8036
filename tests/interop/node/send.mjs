// usage: node send.mjs FOLDER_OF_NODEMAILER HOST PORT plain|starttls SENDER RECIPIENT FILE ...
//
// Sends each file as one message over one connection, and says the reply to each.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder, host, port, mode, from, to, ...files] = process.argv.slice(2);
const nodemailer = createRequire(join(folder, 'x.js'))('nodemailer');
const tls = mode === 'starttls';
const transport = nodemailer.createTransport({
    host,
    port: Number(port),
    name: 'client.example.net',
    pool: true,
    maxConnections: 1,
    maxMessages: Infinity,
    ignoreTLS: !tls,
    requireTLS: tls,
    tls: { rejectUnauthorized: false },
});
for (const file of files) {
    const raw = await readFile(file);
    const envelope = { from, to: [to], use8BitMime: true, size: raw.length };
    const sent = await transport.sendMail({ envelope, raw });
    console.log(sent.response);
}
transport.close();
