"""The pages of the staff. They only read; every act calls a verb of :mod:`builds.lifecycle`."""
