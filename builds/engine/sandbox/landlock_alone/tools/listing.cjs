/* Landlock closes the folders above those that a build may read, but mystmd finds files by listing folders from the root down.
   If a closed folder leads to open ones, this lists what leads there. JOBSITE_LISTED names the open ones, separated by colons. */

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const open = (process.env.JOBSITE_LISTED ?? '').split(':').filter(Boolean).map(place => path.resolve(place))
const { readdir, readdirSync } = fs
const listAsync = fs.promises.readdir

/** The known names in a closed folder; throws `error` if there are none. */
function known (folder, options, error) {
  const above = path.resolve(String(folder))
  const start = above.endsWith('/') ? above : `${above}/`
  const names = new Set(open.filter(place => place.startsWith(start)).map(place => place.slice(start.length).split('/')[0]))
  if (error.code !== 'EACCES' || !names.size || options?.recursive) throw error
  const asEntries = typeof options === 'object' && options?.withFileTypes
  return [...names].map(name => asEntries ? new fs.Dirent(name, fs.constants.UV_DIRENT_DIR, above) : name)
}

fs.readdirSync = (folder, options) => {
  try {
    return readdirSync(folder, options)
  } catch (error) {
    return known(folder, options, error)
  }
}

fs.readdir = (folder, options, callback) => {
  const [given, done] = typeof options === 'function' ? [undefined, options] : [options, callback]
  readdir(folder, given, (error, found) => {
    if (!error) return done(null, found)
    let listed
    try {
      listed = known(folder, given, error)
    } catch (problem) {
      return done(problem)
    }
    done(null, listed)
  })
}

fs.promises.readdir = (folder, options) => listAsync(folder, options).catch(error => known(folder, options, error))
