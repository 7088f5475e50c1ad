// Stain stacks and measure their nuclei: one task per stack, which a failed or interrupted run does again alone.
//
//     nextflow run deploy/nextflow --model model --images 'plate/*.ome.tif' --outdir results
//     nextflow run deploy/nextflow --model model --images 'plate/*.ome.tif' --outdir results -stub

params.model = null
params.images = null
params.outdir = 'results'
params.predict_options = ''
params.segment_options = ''

process PREDICT {
    tag "${image.name}"
    label 'gpu'
    publishDir "${params.outdir}/stains", mode: 'copy'

    input:
    path model
    path image

    output:
    path 'stains/*.ome.tif', emit: stain

    script:
    """
    spotlight predict ${model} ${image} --to stains ${params.predict_options}
    """

    stub:
    """
    mkdir stains
    touch stains/${image.name.replaceFirst(/\.ome\.(tiff?|zarr)$/, '')}-stain.ome.tif
    """
}

process SEGMENT {
    tag "${stain.name}"
    publishDir "${params.outdir}/nuclei", mode: 'copy'

    input:
    path stain

    output:
    path 'nuclei/*-labels.ome.tif', emit: labels
    path 'nuclei/*-nuclei.csv', emit: table

    script:
    """
    spotlight segment ${stain} --to nuclei ${params.segment_options}
    """

    stub:
    """
    mkdir nuclei
    touch nuclei/${stain.name.replace('.ome.tif', '')}-labels.ome.tif nuclei/${stain.name.replace('.ome.tif', '')}-nuclei.csv
    """
}

workflow {
    if (!params.model || !params.images) {
        error "State --model FOLDER and --images 'GLOB'."
    }
    PREDICT(file(params.model, checkIfExists: true), channel.fromPath(params.images, type: 'any', checkIfExists: true))
    SEGMENT(PREDICT.out.stain)
}
