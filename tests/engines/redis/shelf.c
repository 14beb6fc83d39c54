/* A module for tests: a data type of its own, and a number that the module keeps beside keys.

   Arguments: the type's name (9 characters), the number, and when it is saved (1: before the keys, 2: after
   them). `SHELF.PUT key` makes a key of the type. The declarations follow src/redismodule.h of Redis 7.0. */
#include <stddef.h>
#include <stdint.h>

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleIO RedisModuleIO;
typedef struct RedisModuleKey RedisModuleKey;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleType RedisModuleType;
typedef int (*Command)(RedisModuleCtx *, RedisModuleString **, int);

typedef struct {
    uint64_t version;
    void *(*rdb_load)(RedisModuleIO *, int);
    void (*rdb_save)(RedisModuleIO *, void *);
    void *aof_rewrite, *mem_usage, *digest;
    void (*free)(void *);
    int (*aux_load)(RedisModuleIO *, int, int);
    void (*aux_save)(RedisModuleIO *, int);
    int aux_save_triggers;
} Methods;

static int (*get_api)(const char *, void *);
static int (*set_module_attribs)(RedisModuleCtx *, const char *, int, int);
static int (*create_command)(RedisModuleCtx *, const char *, Command, const char *, int, int, int);
static RedisModuleType *(*create_data_type)(RedisModuleCtx *, const char *, int, Methods *);
static const char *(*string_ptr_len)(const RedisModuleString *, size_t *);
static int (*string_to_long_long)(const RedisModuleString *, long long *);
static void (*save_unsigned)(RedisModuleIO *, uint64_t);
static uint64_t (*load_unsigned)(RedisModuleIO *);
static RedisModuleKey *(*open_key)(RedisModuleCtx *, RedisModuleString *, int);
static void (*close_key)(RedisModuleKey *);
static int (*module_type_set_value)(RedisModuleKey *, RedisModuleType *, void *);
static int (*reply_with_long_long)(RedisModuleCtx *, long long);

static RedisModuleType *type;
static long long number, when_saved;

static void *load(RedisModuleIO *io, int version) {
    (void)version;
    return (void *)(uintptr_t)load_unsigned(io);
}

static void save(RedisModuleIO *io, void *value) { save_unsigned(io, (uintptr_t)value); }

static void forget(void *value) { (void)value; }

static int load_aux(RedisModuleIO *io, int version, int when) {
    (void)version, (void)when;
    number = (long long)load_unsigned(io);
    return 0;
}

static void save_aux(RedisModuleIO *io, int when) {
    (void)when;
    save_unsigned(io, (uint64_t)number);
}

static int put(RedisModuleCtx *context, RedisModuleString **arguments, int count) {
    (void)count;
    RedisModuleKey *key = open_key(context, arguments[1], 3);
    module_type_set_value(key, type, (void *)7);
    close_key(key);
    return reply_with_long_long(context, 1);
}

int RedisModule_OnLoad(RedisModuleCtx *context, RedisModuleString **arguments, int count) {
    if (count != 3) return 1;
    get_api = ((int (**)(const char *, void *))context)[0];
    get_api("RedisModule_SetModuleAttribs", &set_module_attribs);
    get_api("RedisModule_CreateCommand", &create_command);
    get_api("RedisModule_CreateDataType", &create_data_type);
    get_api("RedisModule_StringPtrLen", &string_ptr_len);
    get_api("RedisModule_StringToLongLong", &string_to_long_long);
    get_api("RedisModule_SaveUnsigned", &save_unsigned);
    get_api("RedisModule_LoadUnsigned", &load_unsigned);
    get_api("RedisModule_OpenKey", &open_key);
    get_api("RedisModule_CloseKey", &close_key);
    get_api("RedisModule_ModuleTypeSetValue", &module_type_set_value);
    get_api("RedisModule_ReplyWithLongLong", &reply_with_long_long);
    set_module_attribs(context, "shelf", 1, 1);
    string_to_long_long(arguments[1], &number);
    string_to_long_long(arguments[2], &when_saved);
    Methods methods = {.version = 2, .rdb_load = load, .rdb_save = save, .free = forget,
                       .aux_load = load_aux, .aux_save = save_aux, .aux_save_triggers = (int)when_saved};
    type = create_data_type(context, string_ptr_len(arguments[0], NULL), 0, &methods);
    return type == NULL || create_command(context, "shelf.put", put, "write", 1, 1, 1);
}
