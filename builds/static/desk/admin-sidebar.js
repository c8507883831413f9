/* Opens the admin's sidebar before the page is first drawn. Django's own script does so afterwards, and the page jumps. */

document.getElementById('main').classList.toggle('shifted', localStorage.getItem('django.admin.navSidebarIsOpen') !== 'false')
