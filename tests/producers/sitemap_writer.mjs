// Entries, one JSON array a line, to a sitemap; or, when a number per sitemap is given, to an index of gzipped ones.
import { createWriteStream } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { SitemapAndIndexStream, SitemapStream } from 'sitemap';

const [path, site, perSitemap] = process.argv.slice(2);
const folder = dirname(path);
const incoming = join(folder, '..', `${basename(path)}.incoming`);
const generations = [];

// The library refuses to write one without entries.
async function writeEmpty(element) {
  const namespace = 'http://www.sitemaps.org/schemas/sitemap/0.9';
  await writeFile(incoming, `<?xml version="1.0" encoding="UTF-8"?><${element} xmlns="${namespace}"></${element}>`);
}

async function writeOne(entries) {
  await pipeline(Readable.from(entries), new SitemapStream({ hostname: site }), createWriteStream(incoming));
}

async function writeIndex(entries) {
  const index = new SitemapAndIndexStream({
    limit: Number(perSitemap),
    getSitemapStream: () => {
      const name = newName();
      const stream = new SitemapStream({ hostname: site });
      const file = stream.pipe(createGzip()).pipe(createWriteStream(join(folder, name)));
      return [{ url: `${site}/${name}`, lastmod: new Date().toISOString() }, stream, file];
    },
  });
  await pipeline(Readable.from(entries), index, createWriteStream(incoming));
}

// Sitemaps have new names every time, and those of the last time stay: a reader between two of them is not misled.
function newName() {
  const names = generations.at(-1);
  names.push(`sitemap-${process.pid}-${generations.length}-${names.length}.xml.gz`);
  return names.at(-1);
}

for await (const line of createInterface({ input: process.stdin })) {
  const entries = JSON.parse(line);
  generations.push([]);
  if (entries.length === 0) {
    await writeEmpty(Number(perSitemap) ? 'sitemapindex' : 'urlset');
  } else {
    await (Number(perSitemap) ? writeIndex(entries) : writeOne(entries));
  }
  await rename(incoming, path);
  await Promise.all((generations.at(-3) ?? []).map((name) => rm(join(folder, name))));
  process.stdout.write('written\n');
}
