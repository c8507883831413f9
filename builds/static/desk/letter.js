/* Copies the letter, and keeps the link to the mail program up to date with what is written. */

// Programs and browsers cut longer links. The server has the same limit.
const MAX_LINK = 8000
const form = document.getElementById('letter')
const copy = document.getElementById('copy')
const mail = document.getElementById('mail')
const copied = document.getElementById('copied')

function mailLink () {
  const to = form.recipients.value.split(',').map(part => encodeURIComponent(part.trim()).replace('%40', '@')).filter(Boolean).join(',')
  const subject = `mailto:${to}?subject=${encodeURIComponent(form.subject.value)}`
  const whole = `${subject}&body=${encodeURIComponent(form.text.value.replace(/\r?\n/g, '\r\n'))}`
  return whole.length <= MAX_LINK ? whole : subject
}

function update () {
  mail.href = mailLink()
}

copy.addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(form.text.value)
    copied.textContent = 'Copied.'
  } catch {
    form.text.select()
    copied.textContent = 'The browser does not allow copying. The letter is selected: copy it with the keyboard.'
  }
})
form.addEventListener('input', update)
copy.hidden = mail.hidden = false
update()
