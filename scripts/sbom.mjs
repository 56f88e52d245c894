// From `cargo metadata` and the lock file to CycloneDX. Only what the program `farebox` is built from, not what tests use.
import { readFileSync } from 'node:fs'

const [metadataPath, lockPath] = process.argv.slice(2)
const metadata = JSON.parse(readFileSync(metadataPath, 'utf8'))
const checksums = new Map()
for (const entry of readFileSync(lockPath, 'utf8').split('[[package]]').slice(1)) {
  const field = (name) => entry.match(new RegExp(`^${name} = "(.*)"$`, 'm'))?.[1]
  checksums.set(`${field('name')}@${field('version')}`, field('checksum'))
}
const packages = new Map(metadata.packages.map((one) => [one.id, one]))
const nodes = new Map(metadata.resolve.nodes.map((node) => [node.id, node]))
const root = metadata.packages.find(({ name }) => name === 'farebox').id
const needed = new Set()
const visit = (id) => {
  if (needed.has(id)) return
  needed.add(id)
  for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
    if (kinds.some(({ kind }) => kind !== 'dev')) visit(pkg)
  }
}
visit(root)

const component = (id) => {
  const { name, version, license, source } = packages.get(id)
  const hash = checksums.get(`${name}@${version}`)
  return {
    type: id === root ? 'application' : 'library',
    'bom-ref': `${name}@${version}`,
    name,
    version,
    ...(license ? { licenses: [{ expression: license.replaceAll('/', ' OR ') }] } : {}),
    ...(source ? { purl: `pkg:cargo/${name}@${version}` } : {}),
    ...(hash ? { hashes: [{ alg: 'SHA-256', content: hash }] } : {}),
  }
}
const ref = (id) => `${packages.get(id).name}@${packages.get(id).version}`
const ids = [...needed].sort((one, other) => ref(one).localeCompare(ref(other)))
const bill = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  version: 1,
  metadata: { component: component(root) },
  components: ids.filter((id) => id !== root).map(component),
  dependencies: ids.map((id) => ({
    ref: ref(id),
    dependsOn: nodes.get(id).deps.filter(({ pkg }) => needed.has(pkg)).map(({ pkg }) => ref(pkg)).sort(),
  })),
}
console.log(JSON.stringify(bill, null, 1))
