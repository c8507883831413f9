/* Landlock alone lets a build list no folder but those that it may read, and mystmd finds files from the root on, folder by folder.
   Of a folder that is closed but leads to open ones, what leads there is listed. The open ones are in JOBSITE_LISTED, with colons. */

'use strict'

const fs = require('node:fs')
const path = require('node:path')

const open = (process.env.JOBSITE_LISTED ?? '').split(':').filter(Boolean).map(place => path.resolve(place))
const { readdir, readdirSync } = fs
const listAsync = fs.promises.readdir

/** What a closed folder is known to hold; throws `error` where nothing. */
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
