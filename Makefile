# recsys: build with PGXS.
#
#   make             recsys.so, recsys_train.so and recsys--VERSION.sql (needs
#                    postgresql-server-dev and libopenblas-serial-dev)
#   make install     into the server that PG_CONFIG names
#   make installcheck  sql/ against that server, running, with recsys preloaded
#   make check       prepare the machine, then every test on private clusters
#   make demo        prepare, then a live demonstration; KEEP=1 keeps it up
#   make bench       prepare, then the benchmarks
#   make lint        gcc, clang and cppcheck over src/ and test/unit/
#
# check, demo, bench and lint install what is missing from Debian's packages first,
# so they have to work before there is any PGXS to include.

PG_CONFIG ?= $(firstword $(wildcard /usr/lib/postgresql/15/bin/pg_config) pg_config)

# Warnings are errors; "make WERROR=" for a compiler that we have not met.
WERROR ?= -Werror

EXTENSION = recsys
MODULE_big = recsys
RECSYS_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" recsys.control)

# Training workers alone load recsys_train.so, which alone links BLAS: OpenBLAS
# must not come into the postmaster and the backends.  It takes the rest of what
# it needs from recsys.so, which is preloaded.
TRAIN = recsys_train
TRAIN_SOURCES = $(sort $(wildcard src/train/*.c src/numeric/blas_*.c))
TRAIN_OBJS = $(TRAIN_SOURCES:.c=.o)

OBJS = $(patsubst %.c,%.o,$(filter-out $(TRAIN_SOURCES),$(sort $(wildcard src/*.c src/*/*.c))))

# The serial build of OpenBLAS, whatever alternative is the system's BLAS: others
# start threads as soon as they are loaded.
BLAS_PLACE := $(shell $(CC) -print-multiarch 2>/dev/null)/openblas-serial
BLAS_DIR ?= $(patsubst %/libopenblas.so,%,$(firstword $(wildcard /usr/lib/$(BLAS_PLACE)/libopenblas.so)))
BLAS_CPPFLAGS ?= -I/usr/include/$(BLAS_PLACE)
BLAS_LIBS ?= -L$(BLAS_DIR) -Wl,-rpath,$(BLAS_DIR) -lopenblas

# The SQL of each room stands beside its C; rooms in the order of their
# dependencies, files of a room in alphabetical order.
SQL_ROOMS = catalog stream state models serve metrics
SQL_PARTS = $(foreach room,$(SQL_ROOMS),$(sort $(wildcard src/$(room)/*.sql)))
# PGXS would install what a DATA=folder of the demonstration names.
override DATA =
DATA_built = recsys--$(RECSYS_VERSION).sql

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=recsys

EXTRA_CLEAN = $(OBJS:.o=.d) $(TRAIN_OBJS) $(TRAIN_OBJS:.o=.d) recsys--*.sql.tmp

# The server's headers do not compile cleanly under -Wextra.  -isystem on the
# folder that PGXS names with -I makes the compiler drop that -I and keep quiet
# about what comes from there, so our own files need no -Wno-... at all.
PG_CPPFLAGS := -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
PG_CFLAGS = -std=gnu11 -Wall -Wextra $(WERROR) -MMD -MP
SHLIB_LINK = -lm

# No bitcode: it would need the very clang that the server was built with.
override with_llvm = no

PREPARED_GOALS = check demo bench lint

ifneq ($(filter $(PREPARED_GOALS),$(MAKECMDGOALS)),)

# PGXS has a "check" of its own that only says that there is none, so these
# goals run without it, and others beside them in a make of their own.
check:
	@test/run

demo:
	@script/demo

bench:
	@script/prepare
	@bench/run

lint:
	@script/lint

.PHONY: $(PREPARED_GOALS)

ifneq ($(filter-out $(PREPARED_GOALS),$(MAKECMDGOALS)),)
$(filter-out $(PREPARED_GOALS),$(MAKECMDGOALS)):
	+$(MAKE) $@
.PHONY: $(filter-out $(PREPARED_GOALS),$(MAKECMDGOALS))
endif

else

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)

TRAIN_LIB = $(TRAIN)$(DLSUFFIX)

all: $(TRAIN_LIB)

$(TRAIN_LIB): $(TRAIN_OBJS)
	@test -n "$(BLAS_DIR)" || { echo "no serial OpenBLAS here: run script/prepare, or set BLAS_DIR" >&2; exit 1; }
	$(CC) $(CFLAGS) $(TRAIN_OBJS) -shared -o $@ $(LDFLAGS) $(BLAS_LIBS) -lm

install: install-train
install-train: $(TRAIN_LIB) installdirs
	$(INSTALL_SHLIB) $(TRAIN_LIB) '$(DESTDIR)$(pkglibdir)/$(TRAIN_LIB)'

uninstall: uninstall-train
uninstall-train:
	rm -f '$(DESTDIR)$(pkglibdir)/$(TRAIN_LIB)'

clean: clean-train
clean-train:
	rm -f $(TRAIN_LIB)
.PHONY: install-train uninstall-train clean-train

else
all install uninstall installcheck clean:
	@echo "$(PG_CONFIG) has no PGXS here: run script/prepare, or set PG_CONFIG" >&2; exit 1
endif

# Made anew each time (a part that was removed has no date to go by), but
# replaced only if it differs.
$(DATA_built): FORCE
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION recsys" to load this file. \quit'; \
	   for part in $(SQL_PARTS); do echo; cat $$part || exit 1; done; } > $@.tmp
	@if cmp -s $@.tmp $@; then rm $@.tmp; else mv $@.tmp $@; fi

FORCE:
.PHONY: FORCE

# The kernels are plain loops over arrays: let the compiler unroll and
# vectorise them.  Never -ffast-math: NaN and rounding are part of the answer.
src/numeric/%.o: override CFLAGS += -O3

src/numeric/blas_%.o: override CPPFLAGS += $(BLAS_CPPFLAGS)

# Newer servers hide a module's functions by default, from recsys_train.so too.
$(OBJS) $(TRAIN_OBJS): override CFLAGS += -fvisibility=default

$(OBJS) $(TRAIN_OBJS): Makefile

clean: clean-cache
clean-cache:
	script/tree --remove
.PHONY: clean-cache

-include $(wildcard $(OBJS:.o=.d) $(TRAIN_OBJS:.o=.d))

endif
