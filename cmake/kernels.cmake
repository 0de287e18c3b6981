# attn_kernels(NAME file.cu …): compiles `.cu` files for the emulator (object library NAME_emulated) and, with
# ATTN_CUDA, with nvcc (NAME_gpu). OBJECT libraries: a registration in an archive would be dropped by the linker.
set(ATTN_EMULATED_OPTIONS
    -gdwarf-4                              # libdw and binutils of Ubuntu 22.04 lose lines of version 5 here
    -fsanitize=thread                      # plants the memory hooks; its runtime is never linked
    -fno-tree-sra                          # a float4 access stays one access
    --param=tsan-distinguish-volatile=1
    -fno-extern-tls-init
    # The hooks come late: what is moved before them would be seen where the source does not have it.
    -fno-tree-loop-im                      # a load stays behind its condition, and in its loop
    -fno-hoist-adjacent-loads
    -fno-crossjumping                      # two barriers in two branches stay two
    -fno-ipa-icf                           # two kernels of the same code keep their own lines
    -fno-gnu-unique                        # such symbols could not be made private
    -B${PROJECT_SOURCE_DIR}/cmake/emulated_assembler/  # its `as` leaves room behind each __shared__ variable
    # Calls of these stay calls of these: written out, or as the checked variants that Ubuntu's GCC turns them into
    # (_FORTIFY_SOURCE), they would reach no hook.
    -U_FORTIFY_SOURCE
    -fno-builtin-printf
    -fno-builtin-memcpy
    -fno-builtin-memmove
    -fno-builtin-memset
    -fstack-clash-protection               # a large frame touches the guard page below the stack, and does not jump it
    -Wno-tsan
    -Wno-unknown-pragmas                   # "#pragma unroll" is nvcc's
    -Wno-unused-function)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    list(APPEND ATTN_EMULATED_OPTIONS -O0)
else()
    list(APPEND ATTN_EMULATED_OPTIONS -O2)
endif()

function(attn_emulated target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "OPTIONS")
    set(wrappers)
    foreach(source IN LISTS arg_UNPARSED_ARGUMENTS)
        get_filename_component(path ${source} ABSOLUTE)
        get_filename_component(name ${source} NAME_WE)
        set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}/${name}.emulated.cpp)
        file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${path}\"\n" @ONLY)
        set_source_files_properties(${wrapper} PROPERTIES OBJECT_DEPENDS
            "${PROJECT_SOURCE_DIR}/cmake/emulated_compile;${PROJECT_SOURCE_DIR}/cmake/emulated_assembler/as")
        list(APPEND wrappers ${wrapper})
    endforeach()
    add_library(${target} OBJECT ${wrappers})
    target_include_directories(${target} BEFORE PRIVATE ${PROJECT_SOURCE_DIR}/common/emulator/include)
    target_compile_options(${target} PRIVATE ${ATTN_EMULATED_OPTIONS} ${arg_OPTIONS})
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/cmake/emulated_compile)
endfunction()

function(attn_kernels name)
    attn_emulated(${name}_emulated ${ARGN})
    if(ATTN_CUDA)
        add_library(${name}_gpu OBJECT ${ARGN})
    endif()
endfunction()

# attn_chapter(NAME SOURCES registration.cpp … KERNELS file.cu …): what the program and the tests find through the
# registry.
function(attn_chapter name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;KERNELS")
    add_library(${name} OBJECT ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE attn_common)
    attn_kernels(${name}_kernels ${arg_KERNELS})
    set_property(GLOBAL APPEND PROPERTY ATTN_CHAPTERS ${name})
endfunction()

# Links all chapters into an executable: their registrations, the emulated kernels, and with GPU those for a GPU.
function(attn_link_chapters target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "EMULATED;GPU" "" "")
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:attn_memory_tracker>)  # their costs are measured
    get_property(chapters GLOBAL PROPERTY ATTN_CHAPTERS)
    foreach(chapter IN LISTS chapters)
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:${chapter}>)
        if(arg_EMULATED)
            target_sources(${target} PRIVATE $<TARGET_OBJECTS:${chapter}_kernels_emulated>)
        endif()
        if(arg_GPU AND ATTN_CUDA)
            target_sources(${target} PRIVATE $<TARGET_OBJECTS:${chapter}_kernels_gpu>)
        endif()
    endforeach()
    if(arg_EMULATED)
        target_link_libraries(${target} PRIVATE attn_emulator)
    endif()
    if(arg_GPU AND ATTN_CUDA)
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:attn_gpu_probe>)
    endif()
endfunction()
