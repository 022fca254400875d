/* shared_memory_on_cpu.cpp -- shared memory starts undefined on a GPU: NaNs here.
 *
 * Dynamic shared memory is a heap block of exactly the bytes asked for. A kernel's __shared__ variables are statics of
 * its function; the symbol table knows where: those of foo_kernel(float *), _Z10foo_kernelPf, are all called
 * _ZZ10foo_kernelPfE... (a section of their own would be simpler, but g++ ignores it for statics of templates). */
#include "runtime_on_cpu.h"

#include "sanitizers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coc
{

struct Range {
    char *p;
    size_t bytes;
};
struct StaticShared { /* of a kernel */
    const void *kernel;
    std::vector<Range> variables;
    size_t bytes = 0;
    bool anew = false; /* TSan can be told where a block begins */
};

namespace
{

/* ---- symbols of a program or library ---- */

struct Symbol {
    std::string name;
    uintptr_t value;
    size_t bytes;
    bool function;
};
struct Object {
    uintptr_t bias;
    std::vector<Symbol> symbols; /* functions, and statics of functions, by name */
};

struct Wanted {
    uintptr_t address, bias;
    std::string file;
    bool found;
};

int look_at(dl_phdr_info *info, size_t, void *data)
{
    Wanted &w = *(Wanted *)data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &h = info->dlpi_phdr[i];
        const uintptr_t begin = info->dlpi_addr + h.p_vaddr;
        if (h.p_type != PT_LOAD || w.address < begin || w.address >= begin + h.p_memsz)
            continue;
        w.bias = info->dlpi_addr;
        w.file = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
        w.found = true;
        return 1;
    }
    return 0;
}

void read_symbols(Object &o, const char *image)
{
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + h->e_shoff);
    for (int i = 0; i < h->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++) {
            const char *name = names + symbols[k].st_name;
            const int type = ELF64_ST_TYPE(symbols[k].st_info);
            const bool function = type == STT_FUNC && !strncmp(name, "_Z", 2),
                       variable = type == STT_OBJECT && !strncmp(name, "_ZZ", 3);
            if (symbols[k].st_shndx != SHN_UNDEF && (function || variable))
                o.symbols.push_back({ name, symbols[k].st_value, symbols[k].st_size, function });
        }
    }
    std::sort(o.symbols.begin(), o.symbols.end(), [](const Symbol &a, const Symbol &b) { return a.name < b.name; });
}

Object &object_of(const void *kernel)
{
    static std::vector<std::pair<std::string, Object *>> &objects = *new std::vector<std::pair<std::string, Object *>>;
    Wanted w = { (uintptr_t)kernel, 0, "", false };
    dl_iterate_phdr(look_at, &w);
    for (auto &known : objects)
        if (known.first == w.file && known.second->bias == w.bias)
            return *known.second;
    Object *o = new Object{ w.bias, {} };
    struct stat size;
    const int fd = w.found ? open(w.file.c_str(), O_RDONLY) : -1;
    if (fd >= 0 && !fstat(fd, &size)) {
        void *image = mmap(nullptr, (size_t)size.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (image != MAP_FAILED) {
            read_symbols(*o, (const char *)image);
            munmap(image, (size_t)size.st_size);
        }
    }
    if (fd >= 0)
        close(fd);
    objects.emplace_back(w.file, o);
    return *o;
}

/* A program has one object with kernels. Variables of a second one would keep what TSan knows of earlier launches:
 * races with those of other streams would be reported that are none. */
bool begins_anew(const Object &o)
{
    static const Object *told = nullptr;
    uintptr_t first = UINTPTR_MAX, end = 0;
    for (const Symbol &s : o.symbols)
        if (!s.function && s.bytes) {
            first = std::min(first, o.bias + s.value);
            end = std::max(end, o.bias + s.value + s.bytes);
        }
    if (!told && end) {
        can_begin_anew((void *)first, end - first);
        told = &o;
    }
    return told == &o;
}

/* The statics of the function of that name: what link-time optimisation appended to it does not count. */
void add_statics(StaticShared &s, const Object &o, const std::string &function)
{
    const std::string prefix = "_ZZ" + function.substr(2, function.find('.') - 2) + "E";
    auto symbol = std::lower_bound(o.symbols.begin(), o.symbols.end(), prefix,
                                   [](const Symbol &a, const std::string &name) { return a.name < name; });
    for (; symbol != o.symbols.end() && !symbol->name.compare(0, prefix.size(), prefix); ++symbol) {
        if (symbol->function)
            continue;
        s.variables.push_back({ (char *)(o.bias + symbol->value), symbol->bytes });
        s.bytes += symbol->bytes;
    }
}

const StaticShared &statics_of(const void *kernel)
{
    static std::vector<StaticShared *> &known = *new std::vector<StaticShared *>;
    for (const StaticShared *s : known)
        if (s->kernel == kernel)
            return *s;
    StaticShared *s = new StaticShared;
    const Object &o = object_of(kernel);
    s->kernel = kernel;
    for (const Symbol &symbol : o.symbols)
        if (symbol.function && o.bias + symbol.value == (uintptr_t)kernel && s->variables.empty())
            add_statics(*s, o, symbol.name);
    s->anew = begins_anew(o);
    known.push_back(s);
    return *s;
}

COC_PLAIN void fill(char *p, size_t bytes)
{
    ignore_accesses(true);
    memset(p, 0xFF, bytes);
    ignore_accesses(false);
}

} // namespace

size_t static_shared_bytes(const void *kernel)
{
    return statics_of(kernel).bytes;
}

SharedMemory::SharedMemory(const Kernel &k) : kernel(k), p(nullptr), padded((k.smem + 15) & ~(size_t)15)
{
    statics = &statics_of(k.function);
    if (!k.smem)
        return;
    p = (unsigned char *)aligned_alloc(16, padded);
#ifdef COC_ASAN
    if (padded > k.smem)
        __asan_poison_memory_region(p + k.smem, padded - k.smem);
#endif
#if defined(COC_TSAN) && COC_TSAN > 1
    AnnotateBenignRaceSized(__FILE__, __LINE__, p, k.smem, "dynamic shared memory, which the next block uses again");
#endif
}

SharedMemory::~SharedMemory()
{
#ifdef COC_ASAN
    if (padded > kernel.smem)
        __asan_unpoison_memory_region(p + kernel.smem, padded - kernel.smem);
#endif
    free(p);
}

unsigned char *SharedMemory::dynamic() const
{
    return p;
}

void SharedMemory::undefine()
{
    for (const Range &r : statics->variables) {
        fill(r.p, r.bytes);
        if (statics->anew)
            begin_anew(r.p, r.bytes);
    }
    if (kernel.smem)
        fill((char *)p, kernel.smem);
}

} // namespace coc
