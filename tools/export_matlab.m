function export_matlab(net, file)
%EXPORT_MATLAB Write a network of the Deep Learning Toolbox to a file for minicam.
%
%   export_matlab(net, "network.h5") writes the layers of a SeriesNetwork, DAGNetwork, dlnetwork or
%   LayerGraph, their properties, learnable parameters and state, and the connections between them.
%   Then, in a shell:   minicam convert network.h5 minicam.h5
%
%   The file is HDF5. /network is text in JSON, stored as bytes (uint8):
%       {"format": "minicam-matlab", "version": 1,
%        "layers": [{"name", "class", "properties"}, ...], "connections": [[source, destination], ...]}
%   A numeric property with more than 16 elements is {"array": N, "size": [...]} there, and its elements are the
%   vector /arrays/N in MATLAB's (column-major) order, A(:). So nothing is transposed, neither here nor by HDF5, which
%   reverses the sizes of matrices: the reader restores the sizes.
%
%   Written from MATLAB's documentation (R2024a) and not yet run in MATLAB. To be checked there: the properties that
%   each release's layers have; that Learnables and State of a dlnetwork name every parameter as the layer does
%   (assumed: Weights, Bias, Scale, Offset, TrainedMean, TrainedVariance); layers inside a networkLayer, whose names in
%   Learnables contain a "/", are not supported and stop the export. After an export, compare predict(net, X) with
%   minicam for an image of your own.

arguments
    net
    file (1,1) string
end

if isfile(file)
    error("export_matlab:exists", "%s exists; delete it or choose another name", file)
end
layers = cell(1, numel(net.Layers));
arrays = {};
values = parametersOf(net);
for i = 1:numel(net.Layers)
    layer = net.Layers(i);
    [properties, arrays] = propertiesOf(layer, values, arrays);
    layers{i} = struct("name", char(layer.Name), "class", class(layer), "properties", properties);
end
document = struct("format", "minicam-matlab", "version", 1);
document.layers = layers;
document.connections = connectionsOf(net);
text = unicode2native(jsonencode(document), "UTF-8");
writeVector(file, "/network", uint8(text(:)))
for i = 1:numel(arrays)
    writeVector(file, "/arrays/" + i, arrays{i}(:))
end
end

function values = parametersOf(net)
% "layer/parameter" -> array, of the tables Learnables and State, which a dlnetwork has.
values = containers.Map("KeyType", "char", "ValueType", "any");
for name = ["Learnables", "State"]
    if ~isprop(net, name)
        continue
    end
    entries = net.(name);
    for i = 1:height(entries)
        if contains(entries.Layer(i), "/")
            error("export_matlab:nested", "layer %s is inside another network; expand it first", entries.Layer(i))
        end
        values(char(entries.Layer(i) + "/" + entries.Parameter(i))) = plain(entries.Value{i});
    end
end
end

function [found, arrays] = propertiesOf(layer, values, arrays)
% The properties that say what the layer computes, as a struct; arrays are appended to the list.
found = struct();
prefix = char(string(layer.Name) + "/");
names = string(properties(layer))';
for key = string(values.keys)
    if startsWith(key, prefix)
        names = [names, extractAfter(key, strlength(prefix))]; %#ok<AGROW>
    end
end
for name = unique(names)
    key = char(string(prefix) + name);
    if isKey(values, key)
        value = values(key);
    else
        try
            value = plain(layer.(name));
        catch
            continue % some properties can only be read in a trained network
        end
    end
    if isnumeric(value) || islogical(value)
        if numel(value) > 16
            arrays{end + 1} = value; %#ok<AGROW>
            value = struct("array", numel(arrays), "size", {num2cell(size(value))});
        end
    elseif ~(ischar(value) || isstring(value) || iscellstr(value))
        continue
    end
    found.(name) = value;
end
end

function value = plain(value)
% Numbers out of dlarray, gpuArray and single; names out of categories.
if isa(value, "dlarray")
    value = extractdata(value);
end
if isa(value, "gpuArray")
    value = gather(value);
end
if iscategorical(value)
    value = categories(value);
end
if iscellstr(value) %#ok<ISCLSTR>
    value = value(:)';
end
end

function pairs = connectionsOf(net)
% {{source, destination}, ...}; the layers of a SeriesNetwork are a chain.
pairs = {};
if isprop(net, "Connections")
    for i = 1:height(net.Connections)
        row = net.Connections(i, :);
        pairs{end + 1} = {char(string(row.Source)), char(string(row.Destination))}; %#ok<AGROW>
    end
else
    for i = 2:numel(net.Layers)
        pairs{end + 1} = {char(net.Layers(i - 1).Name), char(net.Layers(i).Name)}; %#ok<AGROW>
    end
end
end

function writeVector(file, name, values)
if islogical(values)
    values = uint8(values);
end
h5create(file, name, numel(values), "Datatype", class(values))
h5write(file, name, values)
end
