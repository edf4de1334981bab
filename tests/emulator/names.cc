// What a kernel is called: it is static, so the dynamic linker does not know, but its file's table of symbols does.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/emulator/run.h"

static std::vector<char> file_of(const char *path)
{
    std::vector<char> bytes;
    FILE *file = fopen(path, "rb");
    if (!file) return bytes;
    char piece[65536];
    for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;) bytes.insert(bytes.end(), piece, piece + got);
    fclose(file);
    return bytes;
}

// The name of the symbol that holds `offset`, NULL if there is none.
static const char *symbol_at(const std::vector<char> &file, uint64_t offset)
{
    const char *bytes = file.data();
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)bytes;
    if (file.size() < sizeof *header || header->e_shoff + header->e_shnum * sizeof(ElfW(Shdr)) > file.size())
        return nullptr;
    const ElfW(Shdr) *sections = (const ElfW(Shdr) *)(bytes + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const ElfW(Sym) *symbols = (const ElfW(Sym) *)(bytes + sections[i].sh_offset);
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
            if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC && offset >= symbols[k].st_value &&
                offset < symbols[k].st_value + symbols[k].st_size)
                return bytes + sections[sections[i].sh_link].sh_offset + symbols[k].st_name;
    }
    return nullptr;
}

std::string emu_name_of(const void *function)
{
    Dl_info info;
    struct link_map *map = nullptr;
    if (!dladdr1(function, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return "a kernel";
    const std::vector<char> file = file_of(map->l_name && *map->l_name ? map->l_name : "/proc/self/exe");
    const char *symbol = symbol_at(file, (uint64_t)((const char *)function - (const char *)map->l_addr));
    if (!symbol) return "a kernel";
    int status;
    char *plain = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
    std::string name = plain ? plain : symbol;
    free(plain);
    return name.substr(0, name.find('(')); // without its arguments
}
